//! Private keys that sign the tokens of the tests. They were made for this file and protect nothing.
//!
//! Why not made on each run: RSA keys take seconds to find.

use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

/// A private key and the algorithm it usually signs with.
pub(super) struct TestKey {
    pub(super) algorithm: Algorithm,
    read: fn(&[u8]) -> EncodingKey,
    der: &'static str,
}

impl TestKey {
    pub(super) fn private(&self) -> EncodingKey {
        (self.read)(&BASE64_STANDARD.decode(self.der).unwrap())
    }

    /// A token signed with the usual algorithm, or with another of the same family.
    pub(super) fn sign_as(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private()).unwrap()
    }

    pub(super) fn sign(&self, kid: &str, claims: &Value) -> String {
        self.sign_as(self.algorithm, Some(kid), claims)
    }
}

/// The public half as a member of a JWKS.
pub(super) fn jwk(key: &TestKey, kid: &str) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key.private(), key.algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(kid);
    jwk["use"] = json!("sig");
    jwk
}

/// 2048 bits, PKCS #1.
pub(super) const RSA: TestKey = TestKey {
    algorithm: Algorithm::RS256,
    read: EncodingKey::from_rsa_der,
    der: "MIIEowIBAAKCAQEAp2Z/FXVts5kssFZYQze7U+y7/Qq1UL0y1XT+Gk0IlWwQvapyCuAim7g4iZcLj8GLNQveJ21HSBiOh6F/6whO\
         9gS4CcaTOpuBnGihROWrV0AK4uDcvsHjRghrcZIcxAZBTsbvqThScv4Uxh2RBCCi/z/fk31uCOYL695v0Dfy9/ug8vh5JyBgFaLH\
         qIDTIIuoBZ6CHMOLNQMjtZvhvftXyDIGgT/bzVPCbKTT2l7O8VAl076TIYz09c8IwK+9EK2LX6N08tZBmppICxomuabGnTWUDH9d\
         p8iAP8quBD4ecS0F7g6qxl2uAYpiOzvVFpMENaFwlnX+Tof44S9PMLx2HwIDAQABAoIBABjEMUkbdn97ygDMxYIsXKqt+6IUU37+\
         fubVyEJb40k4E8H71aOGRZiESNkSX8OE/vN6LgPnRwSDnZKzchlzwTrkt9W6a03gc+yQDkwDLrZZ40Jtwjr2tIlH9Z134Imf40mk\
         ZRDEJG6e6LPm6+2QZo0dBhbsF7t5TYo3/pLvtCK7+lmN8AsNi1+uGmtoQglGGMEJWobgQMn/ZeaQt4vcyXI9MCpufLGudlioxU5E\
         OxOP2wYPuvWjOF2qpkYvWerJFs5zkzT+PT/1mDd1mP2ccUP6BIIcb8qYOX/JJrfOjE35x0NfiBExt7PkWgVHRscsWRpiSKPt7y/W\
         M5/DYI5U2gECgYEA2xOjND2/KawduNZioGRJ5CcDvvQhxlFbuS5Fhe79pH2CJh4t5u3t/S1v2TkaRzRjwz+3W3c5YWkf1JTlqDDt\
         qIPTY2W0Kom9CqfZhRkCn9ynWaw3lvHeUnwacdZVRF7J8e0bffVv/+o1EmgsFeRZwsfRSf4+L2ngaf31NnafMokCgYEAw502mZXM\
         xADtImypP8pnuzt8drDLz5ok4lhFgsN4farUJJ8Xrr4nCX6YuqfGZVB9UfJfDvgamXC5PQUy2DJ4B2l6sQIcigSJzYSu4HyXFdfq\
         GK7UZjVH2lTwRkrrRydZOUD7UmTyg7Lla3OOKUUmqSwIrZyw94GpKBOfeWvR2WcCgYA+NnZrWHmX6PPL0L3TVIeTTe0HZibNPb9x\
         eA1wOm03MBksn/djFAA4nJWdt1SaEeuev9JfHB1kZ0kNwnbxa2uiJkV6faBLUDAp/X6NCIwxP6Ualwh2ShtbizirSTWPo+dvV2ku\
         POvgXe9SWdjjIqTG5p2tiJC6QDPlhaQEIm2VGQKBgDJS06UXYKJcCqV8ht4eWClW2GJAgW5bHXoNc3R8jRbnR8RUGWefC7PpmakL\
         WILf/h2C2Omk8lLfKQiFudrcwPxHKoU3Idhv6nOw2rxt0QCRl2vaLlJNCrskdtvekkCv4shT61P7HFi9QUAvbjc3zwZeia0ATpae\
         CMKCqdg24LmpAoGBAKkaWRgOeg5AG96KkYFVqxLAPK2g5d5+Iiyxf40ET3dgyhhRNqdhr/Xy5vOxoQsDJ6WtYXe27/w/5usdoKgQ\
         mytkHWZoDU3x0GFTaDXrFkLsFfrrCqiJRVmkHOZGOUxOs8tOS0BDK0HGV6bCTtbvF/JBuOXvx/3AHJP8rjLWR2MW",
};

/// PKCS #8.
pub(super) const P256: TestKey = TestKey {
    algorithm: Algorithm::ES256,
    read: EncodingKey::from_ec_der,
    der: "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaSFboUJYRUqmOgk9Q8CyGBAG4VWf+Nz9sSJ8v2+yR6yhRANCAAQr\
         80pLAZXWRgOCwj68d4ezCY7+2rHho3AxhjjMbBT2mtXoFPZBOlRWN1f2ryfcRiJDhVFj0fsJXVCKz4pWWCFx",
};

/// PKCS #8.
pub(super) const P384: TestKey = TestKey {
    algorithm: Algorithm::ES384,
    read: EncodingKey::from_ec_der,
    der: "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDC0ABG/F8hK/OVAoPOrmqzB1dJEKwW5XYkf2FW7e3SG41UjvRP4MKtv\
         V3WmxFWndsahZANiAASDd0/KsiwGi/Ke6EBxfMc/bfbJlWnCByzPhv2O921vW04XYi6F71AK1CIokCNlhBiaGUspDT0sSwhfL3lm\
         cFNTRbWvkDBS7ah9yKV+gIFMIkQg2cpx9qDdRlrOQ6qAU4g=",
};

/// PKCS #8.
pub(super) const ED25519: TestKey = TestKey {
    algorithm: Algorithm::EdDSA,
    read: EncodingKey::from_ed_der,
    der: "MC4CAQAwBQYDK2VwBCIEIKGHK050qLSwa3Ah3k1p1FtF+9Nx0O0zlzZxkmKCTl9o",
};
