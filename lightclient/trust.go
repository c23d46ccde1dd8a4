package lightclient

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// TrustStore keeps what a client has verified, so that its next run starts
// there and a pin may grow old without harm.
type TrustStore interface {
	// Load returns the newest head verified from this pin, or nil.
	Load(pin verify.Pin) (*verify.Trust, error)
	// Save keeps a head. It replaces older ones of the same pin.
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
	m.trust[pin] = t
	return nil
}

// Evidence implements TrustStore.
func (m *MemStore) Evidence(e Evidence) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evidence = append(m.evidence, e)
	return "memory", nil
}

// DirStore is a TrustStore in a folder: a file for each pin, and one for each
// piece of evidence.
type DirStore struct{ Dir string }

// path names the file of a pin. The hash alone is enough; two pins of one chain
// must not share trust.
func (d DirStore) path(pin verify.Pin) string {
	return filepath.Join(d.Dir, hex.EncodeToString(pin.Hash[:8])+".trust")
}

// Load implements TrustStore. A file that does not parse is an error and not
// "nothing": it may have been tampered with.
func (d DirStore) Load(pin verify.Pin) (*verify.Trust, error) {
	b, err := os.ReadFile(d.path(pin))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read verified head: %w", err)
	}
	var t verify.Trust
	if err := wire.Decode(b, &t, verify.MaxTrustSize); err != nil || t.ChainID != pin.ChainID || t.Height < pin.Height {
		return nil, wire.Errorf(wire.Invalid, "%s is damaged or of another chain; delete it to start from the pin again", d.path(pin))
	}
	return &t, nil
}

// Save implements TrustStore.
func (d DirStore) Save(pin verify.Pin, t verify.Trust) error {
	return WriteFile(d.path(pin), wire.Encode(t))
}

// Evidence implements TrustStore.
func (d DirStore) Evidence(e Evidence) (string, error) {
	name := fmt.Sprintf("%s-height-%d-%s.evidence", e.Pin.ChainID, e.Height, e.found().Format("20060102-150405"))
	path := filepath.Join(d.Dir, name)
	return path, WriteFile(path, wire.Encode(e))
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
