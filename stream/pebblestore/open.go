package pebblestore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
)

// Options says how to open a store. The zero value is a good one.
type Options struct {
	// CacheBytes is the memory for what was read; 0 means 64 MiB. What is being
	// written takes as much again.
	CacheBytes int64
	// Reserve is how many bytes of the disk appends leave free, so that there is
	// room to trim and to compact; 0 means 256 MiB.
	Reserve uint64
	// Logger takes what the database has to say; nil discards it.
	Logger *slog.Logger
	// FS is the file system; nil means the machine's.
	FS vfs.FS
	// Now is the machine's clock; nil means time.Now. It only decides when
	// entries expire, and may step by hours without harm.
	Now func() time.Time
}

const (
	defaultCache   = 64 << 20
	defaultReserve = 256 << 20
	// memTable holds some seconds of the busiest server's messages: those that
	// are fetched and acknowledged within them never become a table.
	memTable = 32 << 20
	// memTables is how many of them there may be at once. Pebble takes them out of
	// its cache, which would hold nothing else if they were not added to it.
	memTables = 2
	// bloomBits for each key let one look-up in a hundred read a block in vain;
	// each new message id is looked up.
	bloomBits = 10
)

// Open opens the store in a folder, or makes one if the folder is empty or not
// there. It fails if another process has it open, or if a newer version of the
// program wrote it.
func Open(dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCache
	}
	if o.Reserve == 0 {
		o.Reserve = defaultReserve
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = vfs.Default
		abs, err := filepath.Abs(dir) // the lock knows its folder by name
		if err != nil {
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
		dir = abs
	}
	db, lock, err := openDatabase(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := newStore(dir, db, lock, o)
	if err := guard(s.load); err != nil {
		guard(db.Close)
		lock.Close()
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.start()
	return s, nil
}

func openDatabase(dir string, o Options) (*pebble.DB, *pebble.Lock, error) {
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err != nil {
		return nil, nil, wire.Errorf(wire.Unavailable, "the folder cannot be locked (%w): stop the other process that uses it, or give this one a folder of its own", err)
	}
	options := &pebble.Options{
		CacheSize:          o.CacheBytes + memTables*memTable,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		FS:                 o.FS,
		Lock:               lock,
		Logger:             pebbleLogger{o.Logger},
		MemTableSize:       memTable,

		MemTableStopWritesThreshold: memTables + 1,
	}
	// Bodies are ciphertext, which no compression makes smaller.
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	var db *pebble.DB
	err = guard(func() (err error) {
		db, err = pebble.Open(dir, options)
		return err
	})
	if err != nil {
		lock.Close()
		if strings.Contains(err.Error(), "comparer name") {
			err = wire.Errorf(wire.Conflict, "it holds the database of another program: use another folder (%w)", err)
		}
		return nil, nil, err
	}
	return db, lock, nil
}

// load checks the format and reads the store's own record.
func (s *Store) load() error {
	identity, closer, err := s.db.Get([]byte{identitySpace})
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if err := s.db.Set([]byte{identitySpace}, []byte{format}, pebble.Sync); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		defer closer.Close()
		if len(identity) != 1 || identity[0] == 0 {
			return errDamaged
		}
		if identity[0] > format {
			return wire.Errorf(wire.Stale, "a newer program wrote it: it has format %d, this one knows %d; upgrade the program", identity[0], format)
		}
	}
	s.clock.Wall = s.options.Now()
	b, closer, err := s.db.Get([]byte{storeSpace})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	var r storeRecord
	if err := wire.Decode(b, &r, maxRecord); err != nil {
		return fmt.Errorf("%w (%w)", errDamaged, err)
	}
	s.next = r.Next
	s.clock = stream.Clock{Seconds: r.Seconds, Wall: time.Unix(r.Wall, 0)}
	s.clock.Advance(s.options.Now(), maxLeap)
	return nil
}

// Backup writes a copy of the store, as it is now, into a folder that does not
// exist yet, on the same file system. The store stays in use meanwhile.
func (s *Store) Backup(dir string) error {
	if err := s.read(func() error { return s.db.Checkpoint(dir, pebble.WithFlushedWAL()) }); err != nil {
		return fmt.Errorf("back up store to %s: %w", dir, err)
	}
	return nil
}

// upperBound returns the end of the keys that begin with prefix.
func upperBound(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
