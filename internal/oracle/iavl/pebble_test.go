package iavl

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	db "github.com/cosmos/iavl/db"
)

// pebbleDB is Pebble as iavl wants a database, with the same sizes as
// chain/store gives it.
type pebbleDB struct{ *pebble.DB }

func openPebble(b *testing.B) pebbleDB {
	b.Helper()
	o := &pebble.Options{
		CacheSize:          128 << 20,
		MemTableSize:       64 << 20,
		FormatMajorVersion: pebble.FormatTableFormatV6,
		Logger:             quiet{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	p, err := pebble.Open(b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return pebbleDB{p}
}

type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, _ ...any) { panic(format) }

func (p pebbleDB) Get(key []byte) ([]byte, error) {
	v, closer, err := p.DB.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer closer.Close()
	return bytes.Clone(v), nil
}

func (p pebbleDB) Has(key []byte) (bool, error) {
	v, err := p.Get(key)
	return v != nil, err
}

func (p pebbleDB) Iterator(start, end []byte) (db.Iterator, error) {
	it, err := p.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return nil, err
	}
	it.First()
	return &iterator{Iterator: it, start: start, end: end, next: it.Next}, nil
}

func (p pebbleDB) ReverseIterator(start, end []byte) (db.Iterator, error) {
	it, err := p.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return nil, err
	}
	it.Last()
	return &iterator{Iterator: it, start: start, end: end, next: it.Prev}, nil
}

func (p pebbleDB) NewBatch() db.Batch            { return &batch{Batch: p.DB.NewBatch()} }
func (p pebbleDB) NewBatchWithSize(int) db.Batch { return p.NewBatch() }

type iterator struct {
	*pebble.Iterator
	start, end []byte
	next       func() bool
}

func (it *iterator) Domain() ([]byte, []byte) { return it.start, it.end }
func (it *iterator) Next()                    { it.next() }
func (it *iterator) Key() []byte              { return bytes.Clone(it.Iterator.Key()) }
func (it *iterator) Value() []byte            { return bytes.Clone(it.Iterator.Value()) }

type batch struct{ *pebble.Batch }

func (b *batch) Set(key, value []byte) error { return b.Batch.Set(key, value, nil) }
func (b *batch) Delete(key []byte) error     { return b.Batch.Delete(key, nil) }
func (b *batch) Write() error                { return b.Commit(pebble.NoSync) }
func (b *batch) WriteSync() error            { return b.Commit(pebble.Sync) }
func (b *batch) GetByteSize() (int, error)   { return b.Len(), nil }
