package node

import (
	"runtime"
	"sync"

	dbm "github.com/cometbft/cometbft-db"
)

// lateDB is a database that answers late readers with nothing, and ends routines
// that write late. CometBFT closes its stores while routines that serve its peers
// may still look into them once, and one that joins may just be about to write
// down what it fetched; both panic on the error that a closed database gives. What
// is not written then is fetched again at the next start.
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

// NewBatch implements dbm.DB.
func (d *lateDB) NewBatch() dbm.Batch { return &lateBatch{d.DB.NewBatch(), d} }

// lateBatch is a batch of a lateDB.
type lateBatch struct {
	dbm.Batch
	db *lateDB
}

// Write implements dbm.Batch.
func (b *lateBatch) Write() error { return b.write(b.Batch.Write) }

// WriteSync implements dbm.Batch.
func (b *lateBatch) WriteSync() error { return b.write(b.Batch.WriteSync) }

func (b *lateBatch) write(write func() error) error {
	b.db.mu.RLock()
	defer b.db.mu.RUnlock()
	if b.db.closed {
		runtime.Goexit()
	}
	return write()
}
