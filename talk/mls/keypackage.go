package mls

import (
	"bytes"
	"crypto"
	"fmt"
	"io"
)

// KeyPackage is an offer to be added to groups (RFC 9420 §10). Treat it as
// read-only: it keeps its encoding.
type KeyPackage struct {
	Version    uint16
	Suite      CipherSuite
	InitKey    []byte // HPKE public key, for one Welcome
	Leaf       *LeafNode
	Extensions []Extension
	Signature  []byte

	raw []byte
}

// KeyPackageSecrets are the private keys of a key package. The caller keeps
// them until a Welcome uses them or the package expires, then deletes them.
type KeyPackageSecrets struct{ init, leaf secret }

// NewKeyPackageSecrets wraps encoded HPKE private keys that come from
// elsewhere: the init key and the leaf's encryption key.
func NewKeyPackageSecrets(initKey, leafKey []byte) *KeyPackageSecrets {
	return &KeyPackageSecrets{bytes.Clone(initKey), bytes.Clone(leafKey)}
}

// MarshalBinary encodes the secrets for the caller's encrypted store.
func (k *KeyPackageSecrets) MarshalBinary() ([]byte, error) {
	var w writer
	w.vec(k.init)
	w.vec(k.leaf)
	return w.b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (k *KeyPackageSecrets) UnmarshalBinary(data []byte) error {
	r := reader{b: bytes.Clone(data)}
	s := KeyPackageSecrets{r.vec(maxKey), r.vec(maxKey)}
	if err := r.end(); err != nil {
		return fmt.Errorf("decode key package secrets: %w", err)
	}
	*k = s
	return nil
}

// NewKeyPackage makes a key package and its secrets.
func NewKeyPackage(rand io.Reader, id CipherSuite, signer crypto.Signer, t LeafTemplate, life Lifetime, extensions ...Extension) (*KeyPackage, *KeyPackageSecrets, error) {
	s, err := id.lookup()
	if err != nil {
		return nil, nil, err
	}
	pub, err := publicKey(signer)
	if err != nil {
		return nil, nil, err
	}
	initPriv, initPub, err := s.freshKeyPair(rand)
	if err != nil {
		return nil, nil, err
	}
	leafPriv, leafPub, err := s.freshKeyPair(rand)
	if err != nil {
		return nil, nil, err
	}
	leaf := t.leaf(SourceKeyPackage, leafPub, pub)
	leaf.Lifetime = life
	if err := leaf.sign(signer, nil, 0); err != nil {
		return nil, nil, err
	}
	k := &KeyPackage{Version: versionMLS10, Suite: id, InitKey: initPub, Leaf: leaf, Extensions: extensions}
	var w writer
	k.encodeTBS(&w)
	if k.Signature, err = sign(signer, "KeyPackageTBS", w.b); err != nil {
		return nil, nil, err
	}
	w.vec(k.Signature)
	// What was made is read back: a template that does not encode canonically
	// (a repeated extension, an overlong identity) is refused here.
	if k, err = parseKeyPackage(w.b); err != nil {
		return nil, nil, fmt.Errorf("make key package: %w", err)
	}
	if err := k.Verify(); err != nil {
		return nil, nil, fmt.Errorf("make key package: %w", err)
	}
	return k, &KeyPackageSecrets{initPriv, leafPriv}, nil
}

func (k *KeyPackage) encodeTBS(w *writer) {
	w.u16(k.Version)
	w.u16(uint16(k.Suite))
	w.vec(k.InitKey)
	k.Leaf.encode(w)
	w.extensions(k.Extensions)
}

func (r *reader) keyPackage() *KeyPackage {
	from := r.b
	k := &KeyPackage{
		Version: r.u16(), Suite: CipherSuite(r.u16()), InitKey: r.vec(maxKey),
		Leaf: r.leafNode(), Extensions: r.extensions(maxExtension), Signature: r.vec(maxSignature),
	}
	k.raw = r.consumed(from)
	return k
}

func parseKeyPackage(b []byte) (*KeyPackage, error) {
	r := reader{b: b}
	k := r.keyPackage()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode key package: %w", err)
	}
	return k, nil
}

// Message is the encoding to publish: an MLSMessage with the key package.
func (k *KeyPackage) Message() []byte { return frame(WireKeyPackage, k.raw) }

// Ref is the KeyPackageRef of RFC 9420 §5.2, by which a Welcome names it.
func (k *KeyPackage) Ref() []byte { return keyPackageRef(k.raw) }

// Verify checks signatures and form as RFC 9420 §10.1 tells, but not the
// credential, the lifetime or whether it fits a group.
func (k *KeyPackage) Verify() error {
	if k.Version != versionMLS10 {
		return fmt.Errorf("verify key package: version %d: %w", k.Version, ErrUnsupported)
	}
	s, err := k.Suite.lookup()
	if err != nil {
		return fmt.Errorf("verify key package: %w", err)
	}
	if k.Leaf.Source != SourceKeyPackage {
		return fmt.Errorf("verify key package: leaf node made for something else: %w", ErrInvalid)
	}
	if bytes.Equal(k.InitKey, k.Leaf.EncryptionKey) {
		return fmt.Errorf("verify key package: init key is the encryption key: %w", ErrInvalid)
	}
	if err := k.Leaf.check(s, nil); err != nil {
		return fmt.Errorf("verify key package: %w", err)
	}
	if err := s.checkPublic(k.InitKey); err != nil {
		return fmt.Errorf("verify key package: %w", err)
	}
	if err := k.Leaf.verify(nil, 0); err != nil {
		return fmt.Errorf("verify key package: %w", err)
	}
	tbs := k.raw[:len(k.raw)-len(k.Signature)-len(appendLength(nil, len(k.Signature)))]
	return verify(k.Leaf.SignatureKey, "KeyPackageTBS", tbs, k.Signature)
}

// VerifyAt is Verify at a time: now is in Unix seconds. RFC 9420 §7.3 demands
// it before a key package is proposed.
func (k *KeyPackage) VerifyAt(now uint64) error {
	if life := k.Leaf.Lifetime; now < life.NotBefore || now > life.NotAfter {
		return fmt.Errorf("verify key package: not valid at %d, only from %d to %d: %w", now, life.NotBefore, life.NotAfter, ErrInvalid)
	}
	return k.Verify()
}

// matches checks that secrets belong to the key package.
func (k *KeyPackage) matches(s suite, secrets *KeyPackageSecrets) error {
	for _, pair := range []struct {
		priv secret
		pub  []byte
	}{{secrets.init, k.InitKey}, {secrets.leaf, k.Leaf.EncryptionKey}} {
		pub, err := s.publicOf(pair.priv)
		if err != nil {
			return fmt.Errorf("match key package secrets: %w", err)
		}
		if !bytes.Equal(pub, pair.pub) {
			return fmt.Errorf("match key package secrets: they belong to another key package: %w", ErrInvalid)
		}
	}
	return nil
}
