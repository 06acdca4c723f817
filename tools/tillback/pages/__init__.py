"""What a driver's phone opens: the page behind the QR code, from the price list to the receipt.

model.py says what a page is made of, pay.py makes HTML and JSON of it. No page knows a database or
a provider; nothing is loaded from elsewhere, and scripts and styles are files."""
