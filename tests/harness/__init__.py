"""What all tests share: the world they run in, the launch, the conversation."""
