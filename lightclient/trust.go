package lightclient

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TrustStore keeps what a client has verified, so that its next run starts
// there and a pin may grow old without harm.
type TrustStore interface {
	// Load returns the newest head verified from this pin, or nil. The error is
	// of kind Conflict if there is evidence against the pin's chain.
	Load(pin verify.Pin) (*verify.Trust, error)
	// Save keeps a head, unless it has a newer one of the same pin.
	Save(pin verify.Pin, t verify.Trust) error
	// Evidence keeps evidence for ever and says where.
	Evidence(e Evidence) (string, error)
}

// MemStore is a TrustStore in memory.
type MemStore struct {
	mu       sync.Mutex
	trust    map[verify.Pin]verify.Trust
	evidence []Evidence
}

// Load implements TrustStore.
func (m *MemStore) Load(pin verify.Pin) (*verify.Trust, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.evidence {
		if e.Pin == pin {
			return nil, e.poisoned(inMemory)
		}
	}
	if t, ok := m.trust[pin]; ok {
		return &t, nil
	}
	return nil, nil
}

// Save implements TrustStore.
func (m *MemStore) Save(pin verify.Pin, t verify.Trust) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trust == nil {
		m.trust = map[verify.Pin]verify.Trust{}
	}
	if old, ok := m.trust[pin]; !ok || old.Height < t.Height {
		m.trust[pin] = t
	}
	return nil
}

const inMemory = "the memory of this program"

// Evidence implements TrustStore.
func (m *MemStore) Evidence(e Evidence) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evidence = append(m.evidence, e)
	return inMemory, nil
}

// DirStore is a TrustStore in a folder: a file for each pin, and one for each
// piece of evidence. Several programs may use one folder at a time.
type DirStore struct{ Dir string }

// The names of files: a pin's mark and what it is. The hash alone tells pins
// apart, and two pins of one chain must not share trust; a chain's id is no
// part of it, because it may hold any character.
const (
	trustSuffix    = ".trust"
	evidenceSuffix = ".evidence"
)

func pinMark(pin verify.Pin) string { return hex.EncodeToString(pin.Hash[:8]) }

// path names the file of a pin.
func (d DirStore) path(pin verify.Pin) string { return filepath.Join(d.Dir, pinMark(pin)+trustSuffix) }

// Load implements TrustStore. A file that does not parse is an error and not
// "nothing": it may have been tampered with.
func (d DirStore) Load(pin verify.Pin) (*verify.Trust, error) {
	if err := d.against(pin); err != nil {
		return nil, err
	}
	return d.load(pin)
}

func (d DirStore) load(pin verify.Pin) (*verify.Trust, error) {
	b, err := readFile(d.path(pin), verify.MaxTrustSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verified head: %w", err)
	}
	var t verify.Trust
	if err := wire.Decode(b, &t, verify.MaxTrustSize); err != nil || t.ChainID != pin.ChainID || t.Height < pin.Height ||
		t.Height == pin.Height && t.Hash != pin.Hash {
		return nil, wire.Errorf(wire.Invalid, "%s is damaged or of another chain; delete it to start from the pin again", d.path(pin))
	}
	return &t, nil
}

// against returns an error if the folder holds evidence against the pin's chain,
// whoever put it there: what this program found, or another one, or a person
// who was warned.
func (d DirStore) against(pin verify.Pin) error {
	entries, err := os.ReadDir(d.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for evidence: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, pinMark(pin)+"-") || !strings.HasSuffix(name, evidenceSuffix) {
			continue
		}
		path := filepath.Join(d.Dir, name)
		b, err := readFile(path, MaxEvidence)
		if err != nil {
			return fmt.Errorf("read evidence: %w", err)
		}
		e, err := DecodeEvidence(b)
		if err != nil || e.Pin != pin {
			return wire.Errorf(wire.Conflict, "%s is named like evidence against this chain, but is damaged; find out where it comes from, then move it away: %w", path, verify.ErrConflict)
		}
		return e.poisoned(path)
	}
	return nil
}

// Save implements TrustStore.
func (d DirStore) Save(pin verify.Pin, t verify.Trust) error {
	// Another program may have come further. Both are right, and a head that is
	// lost in between only costs a longer way next time.
	if old, err := d.load(pin); err == nil && old != nil && old.Height >= t.Height {
		return nil
	}
	return WriteFile(d.path(pin), wire.Encode(t))
}

// Evidence implements TrustStore.
func (d DirStore) Evidence(e Evidence) (string, error) {
	name := fmt.Sprintf("%s-height-%d-%s%s", pinMark(e.Pin), e.Height, e.mark(), evidenceSuffix)
	path := filepath.Join(d.Dir, name)
	return path, WriteFile(path, wire.Encode(e))
}

// readFile reads a file of at most limit bytes. A larger one comes cut, and one
// byte too long for whoever decodes it.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// WriteFile replaces a file in one step, so that a crash leaves the old one or
// the new one.
func WriteFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
