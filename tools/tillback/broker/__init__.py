"""The MQTT broker: mosquitto's configuration for production, and a small one in our own process."""
