"""What the router learns from: generated pages whose text is known, and what each parser makes of them."""
