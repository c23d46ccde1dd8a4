package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/namesvc/statetree"
	"github.com/confab-chat/confab/namesvc/wire"
)

// format is the version of the layout that keys.go describes.
const format = 1

// Sizes in the database.
const (
	// defaultCache holds what proves some ten thousand names that are asked for
	// again and again, and the blocks of the database that a busy window needs.
	defaultCache = 256 << 20
	// memTable takes some dozens of full blocks, so that what they write is
	// sorted in memory before it goes to disk. It is allocated as it fills.
	memTable = 64 << 20
	// bloomBits for each key let one look-up in a hundred read a block in vain.
	bloomBits = 10
	// indexBlock gives a table one index block instead of a tree of them.
	indexBlock = 256 << 10
)

// identityRecord follows the byte of the format in the identity record.
type identityRecord struct {
	_     struct{} `cbor:",toarray"`
	Chain string
}

// maxChain is the most bytes a chain's id may have (CometBFT allows 50).
const maxChain = 128

type stateRecord struct {
	_      struct{} `cbor:",toarray"`
	Height uint64
	Root   [32]byte
	Oldest uint64 // of the window
}

// maxRecord bounds the encoding of either.
const maxRecord = 256

// Open opens the store in a folder, or makes one there if it holds none. It
// fails if another process has it open, if it belongs to another chain, or if a
// newer version of the program wrote it; these errors have kinds of package wire.
func Open(dir string, o Options) (*Store, error) {
	if o.Chain == "" || len(o.Chain) > maxChain {
		return nil, fmt.Errorf("open store %s: the chain's id must have 1 to %d bytes", dir, maxChain)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = vfs.Default
		// The lock knows its folder by name within one process.
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("open store %s: %w", dir, err)
		}
		dir = abs
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCache
	}
	s, err := openDatabase(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err = guard(func() error { return s.identify(o.Chain) }); err == nil {
		err = s.load()
	}
	if err != nil {
		if broken := fatalError(""); !errors.As(err, &broken) { // else it cannot be closed
			guard(s.db.Close)
			s.lock.Close()
		}
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s.newest = newView(s.db)
	s.views[s.newest] = true
	return s, nil
}

// lockFolder makes the folder if need be, and this process its only user.
func lockFolder(dir string, o Options) (*pebble.Lock, error) {
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, o.FS)
	if err == nil {
		return lock, nil
	}
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return nil, err // the file cannot be opened at all
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return nil, fmt.Errorf("lock the folder: %w; is it on a file system without locks?", err)
	}
	return nil, &wire.Error{Code: wire.Unavailable, Text: "another process is using this folder: stop it, or give this one a folder of its own", Err: err}
}

func openDatabase(dir string, o Options) (*Store, error) {
	lock, err := lockFolder(dir, o)
	if err != nil {
		return nil, err
	}
	background := &health{logger: o.Logger}
	options := &pebble.Options{
		CacheSize:          o.CacheBytes / 2,
		Comparer:           newComparer(),
		EventListener:      background.listener(),
		FormatMajorVersion: pebble.FormatTableFormatV6,
		FS:                 o.FS,
		Lock:               lock,
		Logger:             pebbleLogger{o.Logger},
		MemTableSize:       memTable,
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		options.Levels[i].IndexBlockSize = indexBlock
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
		return nil, err
	}
	return &Store{
		db:         db,
		lock:       lock,
		background: background,
		values:     newRecent[statetree.Key](o.CacheBytes / 4),
		deep:       newRecent[statetree.PageID](o.CacheBytes / 4),
		views:      make(map[*view]bool),
		kept:       heights{roots: make(map[uint64][32]byte)},
	}, nil
}

// identify checks that the folder is a store of this chain, and makes an empty
// one that.
func (s *Store) identify(chain string) error {
	b, closer, err := s.db.Get([]byte{identitySpace})
	if errors.Is(err, pebble.ErrNotFound) {
		record := append([]byte{format}, wire.Encode(identityRecord{Chain: chain})...)
		return s.db.Set([]byte{identitySpace}, record, pebble.Sync)
	}
	if err != nil {
		return err
	}
	defer closer.Close()
	if len(b) > 0 && b[0] > format {
		return wire.Errorf(wire.Stale, "a newer program wrote it: it has format %d, this one knows %d; upgrade the program", b[0], format)
	}
	if len(b) == 0 || b[0] < format {
		return errors.New("its identity record is damaged")
	}
	var id identityRecord
	if err := wire.Decode(b[1:], &id, maxRecord); err != nil {
		return fmt.Errorf("its identity record is damaged: %w", err)
	}
	if id.Chain != chain {
		return wire.Errorf(wire.Conflict, "it belongs to chain %q, not to %q: use the folder of %q, or a new one", id.Chain, chain, chain)
	}
	return nil
}

// load reads the newest state and the kept heights.
func (s *Store) load() error {
	b, closer, err := s.db.Get([]byte{stateSpace})
	if errors.Is(err, pebble.ErrNotFound) {
		return s.sweep() // a restore may have ended half-way
	}
	if err != nil {
		return err
	}
	var state stateRecord
	err = wire.Decode(b, &state, maxRecord)
	closer.Close()
	if err != nil {
		return fmt.Errorf("its state record is damaged: %w", err)
	}
	s.state = State{Height: state.Height, Root: state.Root}
	s.kept.oldest = state.Oldest
	if err := s.loadHeights(); err != nil {
		return err
	}
	for h := s.kept.oldest; h <= s.state.Height; h++ {
		if !s.kept.has(h) {
			return fmt.Errorf("height %d of its last %d is missing", h, Window)
		}
	}
	if s.kept.roots[s.state.Height] != s.state.Root {
		return fmt.Errorf("height %d has two roots", s.state.Height)
	}
	return s.pages.fill(s.db)
}

func (s *Store) loadHeights() error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{heightSpace}, UpperBound: []byte{heightSpace + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if len(it.Key()) != 1+heightSize || len(value) != 1+32 || value[0] > releasedHeight {
			return fmt.Errorf("its record of a height, %x, is damaged", it.Key())
		}
		h := binary.BigEndian.Uint64(it.Key()[1:])
		switch value[0] {
		case releasedHeight:
			s.kept.released = append(s.kept.released, h)
			continue
		case markedHeight:
			s.kept.marked = append(s.kept.marked, h)
		}
		s.kept.roots[h] = [32]byte(value[1:])
	}
	return it.Error()
}
