package mls_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/confab-chat/confab/talk/mls"
)

func TestKeyPackage_SealsForItsOwner(t *testing.T) {
	for _, suite := range mls.Suites() {
		w := newWorld(t, suite, 1)
		k, secrets := w.client().offer()
		other, otherSecrets := w.client().offer()
		sealed, err := k.Encrypt(w.rand(), "test", []byte("context"), []byte("content"))
		w.ok(err)
		plain, err := k.Decrypt(secrets, "test", []byte("context"), sealed)
		if err != nil || string(plain) != "content" {
			t.Fatalf("%v: %q, %v", suite, plain, err)
		}
		again, err := k.Encrypt(w.rand(), "test", []byte("context"), []byte("content"))
		if err != nil || bytes.Equal(again, sealed) {
			t.Errorf("%v: sealed alike twice: %v", suite, err)
		}
		flipped := bytes.Clone(sealed)
		flipped[len(flipped)-1] ^= 1
		for name, c := range map[string]struct {
			k       *mls.KeyPackage
			secrets *mls.KeyPackageSecrets
			label   string
			context string
			sealed  []byte
			want    error
		}{
			"another label":   {k, secrets, "tests", "context", sealed, mls.ErrUnauthentic},
			"another context": {k, secrets, "test", "", sealed, mls.ErrUnauthentic},
			"another package": {other, otherSecrets, "test", "context", sealed, mls.ErrUnauthentic},
			"foreign secrets": {k, otherSecrets, "test", "context", sealed, mls.ErrInvalid},
			"a flipped bit":   {k, secrets, "test", "context", flipped, mls.ErrUnauthentic},
			"cut off":         {k, secrets, "test", "context", sealed[:len(sealed)-1], mls.ErrMalformed},
			"a byte more":     {k, secrets, "test", "context", append(bytes.Clone(sealed), 0), mls.ErrMalformed},
			"nothing":         {k, secrets, "test", "context", nil, mls.ErrMalformed},
		} {
			if plain, err := c.k.Decrypt(c.secrets, c.label, []byte(c.context), c.sealed); !errors.Is(err, c.want) || plain != nil {
				t.Errorf("%v: %s: %q, %v", suite, name, plain, err)
			}
		}
	}
}

// TestKeyPackage_LabelsOfTheProtocolAreNotForApplications: else somebody could have
// what belongs to a Welcome opened, or make a Welcome's secrets of a note.
func TestKeyPackage_LabelsOfTheProtocolAreNotForApplications(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 1)
	k, secrets := w.client().offer()
	for _, label := range []string{"", "Welcome", "UpdatePathNode"} {
		if _, err := k.Encrypt(w.rand(), label, nil, nil); !errors.Is(err, mls.ErrInvalid) {
			t.Errorf("%q: encrypts: %v", label, err)
		}
		if _, err := k.Decrypt(secrets, label, nil, nil); !errors.Is(err, mls.ErrInvalid) {
			t.Errorf("%q: decrypts: %v", label, err)
		}
	}
}

func TestKeyPackage_SealsNothingTooLargeToOpen(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 1)
	k, _ := w.client().offer()
	if _, err := k.Encrypt(w.rand(), "test", nil, make([]byte, 16<<10)); !errors.Is(err, mls.ErrInvalid) {
		t.Error(err)
	}
}

func TestWelcome_NamesWhomItIsFor(t *testing.T) {
	w := newWorld(t, mls.X25519AES128, 1)
	founder, first, second := w.client(), w.client(), w.client()
	a, _ := first.offer()
	b, _ := second.offer()
	founder.create("group")
	c, err := founder.group.Commit(w.rand(), mls.CommitOptions{Proposals: []mls.Proposal{mls.AddProposal(a), mls.AddProposal(b)}})
	w.ok(err)
	m, err := mls.ParseMessage(c.Welcome)
	w.ok(err)
	if got := m.Welcome.Refs(); !slices.EqualFunc(got, [][]byte{a.Ref(), b.Ref()}, bytes.Equal) {
		t.Errorf("for %x", got)
	}
}
