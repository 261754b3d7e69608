"""A simulator of Meta's WhatsApp Cloud API for demos, tests and load measurements.

It imports nothing from the rest of the project and shares no code with the client, so that it cannot repeat
the client's mistakes. Facts about the provider come from Meta's public documentation under
https://developers.facebook.com/documentation/business-messaging/whatsapp/ and are cited where they are used.
"""
