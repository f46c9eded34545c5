"""The wire: messages, codec, error codes and the AsyncAPI document. No I/O."""
