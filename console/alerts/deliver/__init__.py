"""Deliveries: a webhook, a message for Slack, an e-mail; whom they may reach; when they are tried again."""
