package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// cheap is the least that a passphrase may cost, for tests.
func cheap() Cost { return Cost{Passes: 1, MemoryKiB: minMemoryKiB, Threads: 1} }

func right() []byte { return []byte("correct horse battery") }

// at is a time like any other.
func at() time.Time { return time.Unix(1_800_000_000, 0).UTC() }

// dice is randomness that is the same in each run.
type dice struct {
	seed string
	n    uint64
	rest []byte
}

func roll(seed string) io.Reader { return &dice{seed: seed} }

func (d *dice) Read(p []byte) (int, error) {
	for i := range p {
		if len(d.rest) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(d.seed), d.n))
			d.n, d.rest = d.n+1, h[:]
		}
		p[i], d.rest = d.rest[0], d.rest[1:]
	}
	return len(p), nil
}

func newPhrase(t testing.TB, seed string) key.Phrase {
	t.Helper()
	p, err := key.NewPhrase(roll("phrase of " + seed))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// make1 makes a person's account under the passphrase right.
func make1(t testing.TB, name string) Account {
	t.Helper()
	a, err := New(roll(name), newPhrase(t, name), namesvc.Person, Options{Name: name, Created: at()}, Protect(right(), cheap()))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func unlock(t testing.TB, a Account, passphrase []byte) Keys {
	t.Helper()
	k, err := a.Unlock(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, dir string) *Ring {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func add(t testing.TB, r *Ring, names ...string) []Account {
	t.Helper()
	var list []Account
	for _, name := range names {
		a := make1(t, name)
		if err := r.Add(a); err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

func wantCode(t testing.TB, err error, want wire.Code) {
	t.Helper()
	if err == nil || wire.CodeOf(err) != want {
		t.Errorf("error is %v, of kind %v; want one of kind %v", err, wire.CodeOf(err), want)
	}
}

func same(a, b Account) bool {
	return bytes.Equal(a.File(), b.File()) && a.Name == b.Name && a.ID == b.ID
}
