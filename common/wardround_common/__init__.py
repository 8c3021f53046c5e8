"""What coordinator and sites must agree on: the study, the messages, the secure sum."""
