package mls

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// CipherSuite is a code point of RFC 9420 §17.1.
type CipherSuite uint16

// The supported suites. All hash with SHA-256 and sign with Ed25519.
const (
	// X25519AES128 is MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519.
	X25519AES128 CipherSuite = 0x0001
	// X25519ChaCha20 is MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519.
	X25519ChaCha20 CipherSuite = 0x0003
	// XWingAES128 is the X-Wing suite of draft-ietf-mls-pq-ciphersuites: KEM
	// 0x647A (ML-KEM-768 with X25519), HKDF-SHA256, AES-128-GCM, SHA-256,
	// Ed25519. It has no code point yet: this one is from the private range and
	// will be answered for as long as groups that were made with it.
	XWingAES128 CipherSuite = 0xF647
)

// Suites lists the supported suites.
func Suites() []CipherSuite { return []CipherSuite{X25519AES128, X25519ChaCha20, XWingAES128} }

// String names the suite's parts.
func (c CipherSuite) String() string {
	switch c {
	case X25519AES128:
		return "X25519-AES128GCM-SHA256-Ed25519"
	case X25519ChaCha20:
		return "X25519-ChaCha20Poly1305-SHA256-Ed25519"
	case XWingAES128:
		return "XWing-AES128GCM-SHA256-Ed25519"
	}
	return fmt.Sprintf("suite 0x%04x", uint16(c))
}

const (
	hashSize  = sha256.Size // Nh of every supported suite
	nonceSize = 12          // Nn of every supported AEAD
)

// secret is key material. It prints as a placeholder, whatever the verb, so
// that no error or log line can carry it by accident.
type secret []byte

// Format implements fmt.Formatter.
func (secret) Format(f fmt.State, _ rune) { io.WriteString(f, "[secret]") }

// MarshalText keeps a secret out of structured logs and JSON.
func (secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

func (s secret) wipe() { clear(s) }

// suite is a cipher suite with its parts.
type suite struct {
	id      CipherSuite
	kem     hpke.KEM
	aead    hpke.AEAD
	keySize int // Nk
}

func (c CipherSuite) lookup() (suite, error) {
	switch c {
	case X25519AES128:
		return suite{c, hpke.DHKEM(ecdh.X25519()), hpke.AES128GCM(), 16}, nil
	case X25519ChaCha20:
		return suite{c, hpke.DHKEM(ecdh.X25519()), hpke.ChaCha20Poly1305(), chacha20poly1305.KeySize}, nil
	case XWingAES128:
		return suite{c, hpke.MLKEM768X25519(), hpke.AES128GCM(), 16}, nil
	}
	return suite{}, fmt.Errorf("cipher suite 0x%04x: %w", uint16(c), ErrUnsupported)
}

func hash(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func mac(key secret, data ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, d := range data {
		m.Write(d)
	}
	return m.Sum(nil)
}

func equalMAC(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

// refHash is RFC 9420 §5.2.
func refHash(label string, value []byte) []byte {
	w := writer{make([]byte, 0, len(label)+len(value)+8)}
	w.vec([]byte(label))
	w.vec(value)
	return hash(w.b)
}

func keyPackageRef(raw []byte) []byte { return refHash("MLS 1.0 KeyPackage Reference", raw) }
func proposalRef(raw []byte) []byte   { return refHash("MLS 1.0 Proposal Reference", raw) }

// labelled starts a structure with a label and one more vector: the shape of
// SignContent, EncryptContext and, after a length, KDFLabel.
func (w *writer) labelled(label string, data []byte) {
	w.b = appendLength(w.b, len("MLS 1.0 ")+len(label))
	w.b = append(w.b, "MLS 1.0 "...)
	w.b = append(w.b, label...)
	w.vec(data)
}

func extract(salt, ikm secret) secret {
	prk, err := hkdf.Extract(sha256.New, ikm, salt)
	if err != nil {
		panic("mls: hkdf extract: " + err.Error()) // only a weak hash can cause it
	}
	return prk
}

// expand is ExpandWithLabel of RFC 9420 §8.
func expand(s secret, label string, context []byte, length int) secret {
	w := writer{make([]byte, 0, 32+len(label)+len(context))}
	w.u16(uint16(length))
	w.labelled(label, context)
	out, err := hkdf.Expand(sha256.New, s, string(w.b), length)
	if err != nil {
		panic("mls: hkdf expand: " + err.Error()) // only length > maxExport can cause it
	}
	return out
}

// derive is DeriveSecret of RFC 9420 §8.
func derive(s secret, label string) secret { return expand(s, label, nil, hashSize) }

// deriveTree is DeriveTreeSecret of RFC 9420 §9.
func deriveTree(s secret, label string, generation uint32, length int) secret {
	var w writer
	w.u32(generation)
	return expand(s, label, w.b, length)
}

func signContent(label string, content []byte) []byte {
	w := writer{make([]byte, 0, len(content)+32)}
	w.labelled(label, content)
	return w.b
}

// sign is SignWithLabel of RFC 9420 §5.1.2.
func sign(signer crypto.Signer, label string, content []byte) ([]byte, error) {
	sig, err := signer.Sign(nil, signContent(label, content), crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", label, err)
	}
	return sig, nil
}

// verify is VerifyWithLabel of RFC 9420 §5.1.2.
func verify(pub []byte, label string, content, sig []byte) error {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, signContent(label, content), sig) {
		return fmt.Errorf("verify signature of %s: %w", label, ErrUnauthentic)
	}
	return nil
}

// publicKey returns the Ed25519 key of a signer.
func publicKey(signer crypto.Signer) (ed25519.PublicKey, error) {
	if signer == nil {
		return nil, fmt.Errorf("use signer: no signer given: %w", ErrInvalid)
	}
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("use signer: key is not Ed25519: %w", ErrUnsupported)
	}
	return pub, nil
}

// newAEAD keys the suite's AEAD.
func (s suite) newAEAD(key secret) (cipher.AEAD, error) {
	if s.id == X25519ChaCha20 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s suite) sealAEAD(key, nonce secret, aad, plaintext []byte) ([]byte, error) {
	a, err := s.newAEAD(key)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nonce, plaintext, aad), nil
}

func (s suite) openAEAD(key, nonce secret, aad, ciphertext []byte) ([]byte, error) {
	a, err := s.newAEAD(key)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, nonce, ciphertext, aad)
	if err != nil {
		return nil, ErrUnauthentic
	}
	return plain, nil
}

// fresh reads n secret bytes from rand.
func fresh(rand io.Reader, n int) (secret, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return b, nil
}
