package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

// keyPair derives an HPKE key pair from a secret (RFC 9420 §7.4).
func (s suite) keyPair(ikm secret) (priv secret, pub []byte, err error) {
	k, err := s.kem.DeriveKeyPair(ikm)
	if err != nil {
		return nil, nil, fmt.Errorf("derive key pair: %w", err)
	}
	b, err := k.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("derive key pair: %w", err)
	}
	return b, k.PublicKey().Bytes(), nil
}

// freshKeyPair makes an HPKE key pair from rand.
func (s suite) freshKeyPair(rand io.Reader) (priv secret, pub []byte, err error) {
	ikm, err := fresh(rand, hashSize)
	if err != nil {
		return nil, nil, err
	}
	return s.keyPair(ikm)
}

// publicOf returns the public key of an encoded private key.
func (s suite) publicOf(priv secret) ([]byte, error) {
	k, err := s.kem.NewPrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", ErrInvalid)
	}
	return k.PublicKey().Bytes(), nil
}

// checkPublic refuses a public key that nobody could encrypt to: of a wrong
// size, outside ML-KEM's range, or a point of small order. One such key in a
// tree would stop every later commit that has to reach it.
func (s suite) checkPublic(pub []byte) error {
	if _, err := s.kem.NewPublicKey(pub); err != nil {
		return fmt.Errorf("read HPKE public key: %w", ErrInvalid)
	}
	if smallOrder([32]byte(pub[len(pub)-32:])) { // X-Wing ends with its X25519 key
		return fmt.Errorf("read HPKE public key: point of small order: %w", ErrInvalid)
	}
	return nil
}

// smallOrder reports whether an X25519 public key makes every shared secret
// zero: the points of order 1, 2, 4 and 8 and their twins, in every encoding
// X25519 accepts (it ignores the top bit and reduces modulo 2^255-19).
func smallOrder(u [32]byte) bool {
	u[31] &= 0x7f
	// 2^255-20, 2^255-19 and 2^255-18 differ from each other in the first byte.
	high := u[31] == 0x7f
	low := u[31] == 0
	for _, b := range u[1:31] {
		high = high && b == 0xff
		low = low && b == 0
	}
	if low && u[0] <= 1 || high && 0xec <= u[0] && u[0] <= 0xee {
		return true
	}
	order8 := [2][32]byte{
		{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
			0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
		{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
			0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	}
	return u == order8[0] || u == order8[1]
}

// hpkeCiphertext is HPKECiphertext of RFC 9420 §7.6.
type hpkeCiphertext struct{ kemOutput, ciphertext []byte }

func (c *hpkeCiphertext) encode(w *writer) {
	w.vec(c.kemOutput)
	w.vec(c.ciphertext)
}

func (r *reader) hpkeCiphertext(max int) (c hpkeCiphertext) {
	c.kemOutput = r.vec(maxKey)
	c.ciphertext = r.vec(max)
	return c
}

func encryptContext(label string, context []byte) []byte {
	w := writer{make([]byte, 0, len(label)+len(context)+16)}
	w.labelled(label, context)
	return w.b
}

// sealer encrypts to many keys in one context: what of HPKE's key schedule
// depends on the context alone is computed once. In a Welcome the context is
// the whole encrypted GroupInfo.
type sealer struct {
	s       suite
	label   string
	info    []byte
	context []byte // key schedule context, X25519 suites
}

func (s suite) newSealer(label string, context []byte) sealer {
	k := sealer{s: s, label: label, info: encryptContext(label, context)}
	if s.id != XWingAES128 {
		k.context = s.scheduleContext(k.info)
	}
	return k
}

// encrypt is EncryptWithLabel of RFC 9420 §5.1.3.
func (k sealer) encrypt(rand io.Reader, pub, plaintext []byte) (c hpkeCiphertext, err error) {
	sender, enc, err := k.s.newSender(rand, pub, k.info, k.context)
	if err != nil {
		return c, fmt.Errorf("encrypt %s: %w", k.label, err)
	}
	ct, err := sender.seal(plaintext)
	return hpkeCiphertext{enc, ct}, err
}

// A sealing is one ciphertext to make.
type sealing struct{ pub, plaintext []byte }

// sealShare is how many ciphertexts are worth a goroutine: about a millisecond.
const sealShare = 16

// encryptAll makes ciphertexts on all processors: a path in a tree where nobody
// has committed yet has one for every member. What each takes from rand it takes
// in their order, so that the result does not depend on who is faster.
func (k sealer) encryptAll(rand io.Reader, list []sealing) ([]hpkeCiphertext, error) {
	seeds := make([]secret, len(list))
	for i := range seeds {
		if k.s.id == XWingAES128 {
			continue // crypto/hpke takes its own
		}
		var err error
		if seeds[i], err = fresh(rand, hashSize); err != nil {
			return nil, err
		}
	}
	out, errs := make([]hpkeCiphertext, len(list)), make([]error, len(list))
	var next atomic.Int64
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(list) {
				return
			}
			out[i], errs[i] = k.encrypt(bytes.NewReader(seeds[i]), list[i].pub, list[i].plaintext)
			clear(seeds[i])
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)/sealShare) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i, err)
		}
	}
	return out, nil
}

// decrypt is DecryptWithLabel of RFC 9420 §5.1.3.
func (s suite) decrypt(priv secret, label string, context []byte, c hpkeCiphertext) (secret, error) {
	k, err := s.kem.NewPrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: private key: %w", label, ErrInvalid)
	}
	r, err := hpke.NewRecipient(c.kemOutput, k, hpke.HKDFSHA256(), s.aead, encryptContext(label, context))
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: %w", label, ErrUnauthentic)
	}
	plain, err := r.Open(nil, c.ciphertext)
	if err != nil {
		return nil, fmt.Errorf("decrypt %s: %w", label, ErrUnauthentic)
	}
	return plain, nil
}

// externalInitLabel names the secret an external joiner exports (§8.3).
const externalInitLabel = "MLS 1.0 external init secret"

func (s suite) encapExternalInit(rand io.Reader, pub []byte) (kemOutput []byte, init secret, err error) {
	sender, enc, err := s.newSender(rand, pub, nil, s.scheduleContext(nil))
	if err != nil {
		return nil, nil, fmt.Errorf("encapsulate external init: %w", err)
	}
	init, err = sender.export(externalInitLabel, hashSize)
	return enc, init, err
}

func (s suite) decapExternalInit(priv secret, kemOutput []byte) (secret, error) {
	k, err := s.kem.NewPrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("decapsulate external init: private key: %w", ErrInvalid)
	}
	r, err := hpke.NewRecipient(kemOutput, k, hpke.HKDFSHA256(), s.aead, nil)
	if err != nil {
		return nil, fmt.Errorf("decapsulate external init: %w", ErrUnauthentic)
	}
	return r.Export(externalInitLabel, hashSize)
}

// sender is the sending half of HPKE for one message.
type sender interface {
	seal(plaintext []byte) ([]byte, error)
	export(label string, length int) (secret, error)
}

// newSender starts an HPKE context in base mode. X-Wing takes info, the others
// what scheduleContext makes of it.
//
// crypto/hpke takes the sender's randomness from the system only. For the
// X25519 suites the few lines of RFC 9180 that a sender needs are therefore
// written out below, on crypto/ecdh and crypto/hkdf, and drawn from rand; what
// they produce is opened by crypto/hpke in tests. ML-KEM is not written out:
// for X-Wing, encapsulation uses the system's randomness and ignores rand.
// Tests make that exact with testing/cryptotest.SetGlobalRandom.
func (s suite) newSender(rand io.Reader, pub, info, context []byte) (sender, []byte, error) {
	if s.id == XWingAES128 {
		k, err := s.kem.NewPublicKey(pub)
		if err != nil {
			return nil, nil, fmt.Errorf("read HPKE public key: %w", ErrInvalid)
		}
		enc, hs, err := hpke.NewSender(k, hpke.HKDFSHA256(), s.aead, info)
		if err != nil {
			return nil, nil, err
		}
		return systemSender{hs}, enc, nil
	}
	shared, enc, err := encapX25519(rand, pub)
	if err != nil {
		return nil, nil, err
	}
	return s.scheduleBase(shared, context), enc, nil
}

type systemSender struct{ *hpke.Sender }

func (s systemSender) seal(plaintext []byte) ([]byte, error) { return s.Seal(nil, plaintext) }
func (s systemSender) export(label string, length int) (secret, error) {
	return s.Export(label, length)
}

// encapX25519 is Encap of DHKEM(X25519, HKDF-SHA256), RFC 9180 §4.1.
func encapX25519(rand io.Reader, pub []byte) (shared secret, enc []byte, err error) {
	peer, err := ecdh.X25519().NewPublicKey(pub)
	if err != nil {
		return nil, nil, fmt.Errorf("read HPKE public key: %w", ErrInvalid)
	}
	seed, err := fresh(rand, 32)
	if err != nil {
		return nil, nil, err
	}
	defer seed.wipe()
	eph, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return nil, nil, fmt.Errorf("make ephemeral key: %w", err)
	}
	dh, err := eph.ECDH(peer)
	if err != nil {
		return nil, nil, fmt.Errorf("agree with HPKE public key: %w", ErrInvalid)
	}
	enc = eph.PublicKey().Bytes()
	id := []byte("KEM\x00\x20")
	prk := labeledExtract(id, nil, "eae_prk", dh)
	return labeledExpand(id, prk, "shared_secret", append(enc[:len(enc):len(enc)], pub...), 32), enc, nil
}

// x25519Sender is the context of RFC 9180 §5.1, for one message.
type x25519Sender struct {
	s          suite
	id         []byte
	key, nonce secret
	exporter   secret
}

func (s suite) hpkeID() []byte {
	return binary.BigEndian.AppendUint16([]byte("HPKE\x00\x20\x00\x01"), s.aead.ID())
}

// scheduleContext is key_schedule_context of RFC 9180 §5.1.
func (s suite) scheduleContext(info []byte) []byte {
	id := s.hpkeID()
	context := append([]byte{0}, labeledExtract(id, nil, "psk_id_hash", nil)...)
	return append(context, labeledExtract(id, nil, "info_hash", info)...)
}

func (s suite) scheduleBase(shared secret, context []byte) x25519Sender {
	id := s.hpkeID()
	prk := labeledExtract(id, shared, "secret", nil)
	return x25519Sender{
		s: s, id: id,
		key:      labeledExpand(id, prk, "key", context, s.keySize),
		nonce:    labeledExpand(id, prk, "base_nonce", context, nonceSize),
		exporter: labeledExpand(id, prk, "exp", context, hashSize),
	}
}

func (x x25519Sender) seal(plaintext []byte) ([]byte, error) {
	return x.s.sealAEAD(x.key, x.nonce, nil, plaintext)
}

func (x x25519Sender) export(label string, length int) (secret, error) {
	return labeledExpand(x.id, x.exporter, "sec", []byte(label), length), nil
}

// labeledExtract and labeledExpand are RFC 9180 §4.
func labeledExtract(id, salt []byte, label string, ikm []byte) secret {
	in := make([]byte, 0, 64+len(ikm))
	in = append(append(append(append(in, "HPKE-v1"...), id...), label...), ikm...)
	return extract(salt, in)
}

func labeledExpand(id []byte, prk secret, label string, info []byte, length int) secret {
	in := binary.BigEndian.AppendUint16(make([]byte, 0, 64+len(info)), uint16(length))
	in = append(append(append(append(in, "HPKE-v1"...), id...), label...), info...)
	out, err := hkdf.Expand(sha256.New, prk, string(in), length)
	if err != nil {
		panic("mls: hkdf expand: " + err.Error()) // lengths here are constants
	}
	return out
}
