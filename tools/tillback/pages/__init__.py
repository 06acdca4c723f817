"""What a driver's phone opens: the page behind the QR code, from the price list to the receipt.

model.py says what a page is made of, pay.py makes HTML and JSON of it, and neither knows a database
or a provider. standing.py looks up what a page is made of; routes.py answers. Nothing is loaded
from elsewhere, and scripts and styles are files."""
