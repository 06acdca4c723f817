"""Stripe as far as a charger's till needs it, on the loopback interface: `localstripe` keeps
customers, cards, intents, charges and refunds; the edge in front of it does what it does not.

Known from Stripe's public documentation (docs.stripe.com); never compared with Stripe itself.

| room | what is in it |
| --- | --- |
| localstripe.py | the `localstripe` package as a process of its own |
| server.py | `Edge`: HTTP, faults, and all that a test says to it |
| routes.py | each path of the API: its parameters, and who answers |
| idempotency.py, forms.py, errors.py | keys; form bodies; errors, as Stripe's are |
| account.py, objects.py | what the edge keeps besides localstripe; objects as they are answered |
| intents.py, refunds.py, disputes.py, checkout.py, terminal.py, webhooks.py | one noun each |
| cards.py, money.py | tables: test cards and holds; minima and fees |"""
