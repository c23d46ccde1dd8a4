package mls

import (
	"fmt"
	"io"
	"slices"
)

// maxSealed bounds what [KeyPackage.Decrypt] takes apart: keys and short notes
// travel this way, what is longer under a key that does.
const maxSealed = 16 << 10

// ownLabels are the labels of RFC 9420 itself. An application that used one
// could be made to open what belongs to the protocol, or the other way round.
func ownLabels() []string { return []string{"", "Welcome", "UpdatePathNode"} }

// Encrypt encrypts to the key package's init key: EncryptWithLabel of RFC 9420
// §5.1.3, the label being the application's own. context is authenticated and
// not sent. The result is an HPKECiphertext (§7.6). Verify the key package
// first: to whom its key belongs is known by nothing else.
//
// With XWingAES128 the system's randomness is used and rand is not; see the
// package documentation.
func (k *KeyPackage) Encrypt(rand io.Reader, label string, context, plaintext []byte) ([]byte, error) {
	s, err := k.labelled(label)
	if err != nil {
		return nil, fmt.Errorf("encrypt to key package: %w", err)
	}
	c, err := s.newSealer(label, context).encrypt(rand, k.InitKey, plaintext)
	if err != nil {
		return nil, fmt.Errorf("encrypt to key package: %w", err)
	}
	var w writer
	c.encode(&w)
	if len(w.b) > maxSealed {
		return nil, fmt.Errorf("encrypt to key package: %d bytes, at most %d allowed: %w", len(w.b), maxSealed, ErrInvalid)
	}
	return w.b, nil
}

// Decrypt opens what [KeyPackage.Encrypt] made, with the key package's secrets.
// It does not use them up: the caller decides how long they are kept.
func (k *KeyPackage) Decrypt(secrets *KeyPackageSecrets, label string, context, sealed []byte) ([]byte, error) {
	s, err := k.labelled(label)
	if err != nil {
		return nil, fmt.Errorf("decrypt with key package: %w", err)
	}
	r := reader{b: sealed}
	c := r.hpkeCiphertext(maxSealed)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decrypt with key package: %w", err)
	}
	if err := k.matches(s, secrets); err != nil {
		return nil, fmt.Errorf("decrypt with key package: %w", err)
	}
	plain, err := s.decrypt(secrets.init, label, context, c)
	if err != nil {
		return nil, fmt.Errorf("decrypt with key package: %w", err)
	}
	return plain, nil
}

func (k *KeyPackage) labelled(label string) (suite, error) {
	if slices.Contains(ownLabels(), label) {
		return suite{}, fmt.Errorf("label %q is the protocol's: %w", label, ErrInvalid)
	}
	return k.Suite.lookup()
}

// Refs lists the key packages that the Welcome is for, by their KeyPackageRef
// (RFC 9420 §5.2): whoever keeps many finds the right one by it.
func (wl *Welcome) Refs() [][]byte {
	refs := make([][]byte, len(wl.secrets))
	for i := range wl.secrets {
		refs[i] = wl.secrets[i].newMember
	}
	return refs
}
