package mls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"
	"testing/cryptotest"
)

// TestHPKE_OwnSenderIsRFC9180 compares the sender of the X25519 suites with
// the test vector of RFC 9180 §A.1.1 and with crypto/hpke.
func TestHPKE_OwnSenderIsRFC9180(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		noError(t, err)
		return b
	}
	s, err := X25519AES128.lookup()
	noError(t, err)
	seed := unhex("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736")
	pub := unhex("3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d")
	info := unhex("4f6465206f6e2061204772656369616e2055726e")
	shared, enc, err := encapX25519(bytes.NewReader(seed), pub)
	noError(t, err)
	equal(t, "enc", enc, unhex("37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"))
	equal(t, "shared secret", shared, unhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc"))
	x := s.scheduleBase(shared, s.scheduleContext(info))
	equal(t, "key", x.key, unhex("4531685d41d65f03dc48f6b8302c05b0"))
	equal(t, "nonce", x.nonce, unhex("56d890e5accaaf011cff4b7d"))
	equal(t, "exporter", x.exporter, unhex("45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8"))

	for _, id := range []CipherSuite{X25519AES128, X25519ChaCha20} {
		s, err := id.lookup()
		noError(t, err)
		priv, pub, err := s.freshKeyPair(testRand(1))
		noError(t, err)
		snd, enc, err := s.newSender(testRand(2), pub, info, s.scheduleContext(info))
		noError(t, err)
		ct, err := snd.seal([]byte("plain"))
		noError(t, err)
		exported, err := snd.export("label", 40)
		noError(t, err)
		k, err := s.kem.NewPrivateKey(priv)
		noError(t, err)
		r, err := hpke.NewRecipient(enc, k, hpke.HKDFSHA256(), s.aead, info)
		noError(t, err)
		got, err := r.Open(nil, ct)
		noError(t, err)
		equal(t, "opened", got, []byte("plain"))
		got, err = r.Export("label", 40)
		noError(t, err)
		equal(t, "exported", got, exported)
	}
}

// TestHPKE_XWingIsExactUnderTest shows what the package documentation says:
// X-Wing encapsulation takes the system's randomness, and nothing else.
func TestHPKE_XWingIsExactUnderTest(t *testing.T) {
	s, err := XWingAES128.lookup()
	noError(t, err)
	_, pub, err := s.freshKeyPair(testRand(1))
	noError(t, err)
	seal := func(seed uint64, b byte) []byte {
		cryptotest.SetGlobalRandom(t, seed)
		c, err := s.newSealer("x", nil).encrypt(testRand(b), pub, []byte("plain"))
		noError(t, err)
		return slices.Concat(c.kemOutput, c.ciphertext)
	}
	if !bytes.Equal(seal(1, 1), seal(1, 2)) {
		t.Error("the argument's randomness has an effect")
	}
	if bytes.Equal(seal(1, 1), seal(2, 1)) {
		t.Error("the system's randomness has no effect")
	}
}

func TestSuite_PublicKeysOfSmallOrderAreRefused(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	parse := func(s string) *big.Int {
		n, _ := new(big.Int).SetString(s, 10)
		return n
	}
	bad := []*big.Int{big.NewInt(0), big.NewInt(1),
		parse("325606250916557431795983626356110631294008115727848805560023387167927233504"),
		parse("39382357235489614581723060781553021112529911719440698176882885853963445705823"),
		new(big.Int).Sub(p, big.NewInt(1)), p, new(big.Int).Add(p, big.NewInt(1))}
	encode := func(n *big.Int, top byte) []byte {
		b := n.FillBytes(make([]byte, 32))
		slices.Reverse(b)
		b[31] |= top
		return b
	}
	s, err := X25519AES128.lookup()
	noError(t, err)
	key, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	noError(t, err)
	agree := func(pub []byte) bool {
		k, err := ecdh.X25519().NewPublicKey(pub)
		noError(t, err)
		_, err = key.ECDH(k)
		return err == nil
	}
	for _, n := range bad {
		for _, top := range []byte{0, 0x80} {
			pub := encode(n, top)
			if err := s.checkPublic(pub); !errors.Is(err, ErrInvalid) {
				t.Errorf("%x: %v", pub, err)
			}
			if agree(pub) {
				t.Errorf("%x is not of small order: the table is wrong", pub)
			}
		}
	}
	// Their neighbours are points like any other.
	for _, n := range bad {
		for _, d := range []int64{-2, 2} {
			m := new(big.Int).Add(n, big.NewInt(d))
			if m.Sign() < 0 || m.BitLen() > 255 {
				continue
			}
			pub := encode(m, 0)
			if err := s.checkPublic(pub); (err == nil) != agree(pub) {
				t.Errorf("%x: check says %v, agreement works: %v", pub, err, agree(pub))
			}
		}
	}
}

func TestSuite_UnsupportedIsSaid(t *testing.T) {
	for _, id := range []CipherSuite{0, 2, 4, 5, 6, 7, 77} {
		if _, err := Create(testRand(1), id, []byte("g"), testSigner(1), LeafTemplate{}, nil, anyPolicy()); !errors.Is(err, ErrUnsupported) {
			t.Errorf("suite %d: %v", id, err)
		}
	}
	if _, err := Create(testRand(1), X25519AES128, []byte("g"), testSigner(1), LeafTemplate{Credential: BasicCredential(nil)}, nil, Policy{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("group without a credential check: %v", err)
	}
}
