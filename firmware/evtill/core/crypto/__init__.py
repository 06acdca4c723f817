"""SHA-256, HMAC, CMAC and ECDSA over P-256.

A *signer* is whatever has

    public          the point (x, y) of its key
    sign(digest)    -> (r, s), integers, 0 < r, s < N, over the 32 bytes of a SHA-256 digest;
                    raises SignatureError when it cannot

p256.P256 signs with a key that it is given; app/identity.py makes a signer of it, or of a secure
element's driver (an ATECC608's, say), whose key nobody has. jws.es256_signature() takes a
signer's sign(), ocmf.seal() the (r, s) of one: neither knows which it was.
"""
