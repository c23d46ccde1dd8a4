package node

import (
	"sync"

	dbm "github.com/cometbft/cometbft-db"
)

// lateDB is a database that answers late readers with nothing. CometBFT closes
// its stores while routines that serve its peers may still look into them once,
// and panics on the error that a closed database gives.
type lateDB struct {
	dbm.DB
	mu     sync.RWMutex
	closed bool
}

// Get implements dbm.DB.
func (d *lateDB) Get(k []byte) ([]byte, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, nil
	}
	return d.DB.Get(k)
}

// Has implements dbm.DB.
func (d *lateDB) Has(k []byte) (bool, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return false, nil
	}
	return d.DB.Has(k)
}

// Close implements dbm.DB.
func (d *lateDB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.DB.Close()
}
