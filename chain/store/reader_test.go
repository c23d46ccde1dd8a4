package store_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc/statetree"
)

func TestAt_EmptyStoreHasNoHeight(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	if _, err := s.At(0); !errors.Is(err, store.ErrGone) {
		t.Errorf("height 0: %v", err)
	}
	if _, err := s.At(1); !errors.Is(err, store.ErrNotYet) {
		t.Errorf("height 1: %v", err)
	}
	if v, err := s.Get(statetree.Key{1}); v != nil || err != nil {
		t.Errorf("a value: %x, %v", v, err)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
}

// A Reader of a height that is pruned under it sees it as it was.
func TestReader_OutlivesItsHeight(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	r, m := newSource(21), newModel()
	readers := make(map[uint64]*store.Reader)
	for height := uint64(1); height <= 260; height++ {
		changes := r.changes(12)
		commit(t, s, height, changes, store.Also{})
		m.commit(t, height, changes, store.Also{})
		if height%20 == 0 {
			back := height - r.Uint64N(min(height, store.Window))
			reader, err := s.At(back)
			if err != nil {
				t.Fatal(err)
			}
			readers[back] = reader
		}
	}
	for height, reader := range readers {
		checkReader(t, reader, m.heights[height], height)
		if err := errors.Join(reader.Close(), reader.Close()); err != nil {
			t.Error(err)
		}
	}
	m.check(t, s)
}

func TestLeaves_FromAKeyOnInOrder(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	r, m := newSource(2), newModel()
	for height := uint64(1); height <= 30; height++ {
		changes := r.changes(20)
		commit(t, s, height, changes, store.Also{})
		m.commit(t, height, changes, store.Also{})
	}
	for _, height := range []uint64{10, 29, 30} {
		var keys []statetree.Key
		for k := range m.heights[height].All() {
			keys = append(keys, k)
		}
		reader, err := s.At(height)
		if err != nil {
			t.Fatal(err)
		}
		for i, from := range keys {
			var got []statetree.Key
			if err := reader.Leaves(from, func(k statetree.Key, _ []byte) error {
				got = append(got, k)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, keys[i:]) {
				t.Fatalf("height %d from %s: %v, want %v", height, from, got, keys[i:])
			}
		}
		stop := errors.New("enough")
		n := 0
		err = reader.Leaves(statetree.Key{}, func(statetree.Key, []byte) error {
			n++
			return stop
		})
		if n != 1 || !errors.Is(err, stop) {
			t.Errorf("%d leaves after the error, %v", n, err)
		}
		if err := reader.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Many readers beside one writer; the race detector watches.
func TestReader_ManyBesideOneWriter(t *testing.T) {
	s := open(t, vfs.NewMem())
	defer closeStore(t, s)
	r, m := newSource(31), newModel()
	var blocks [][]statetree.Change
	for height := uint64(1); height <= 150; height++ {
		blocks = append(blocks, r.changes(12))
		m.commit(t, height, blocks[height-1], store.Also{})
	}
	commit(t, s, 1, blocks[0], store.Also{})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for seed := range uint64(4) {
		readers.Go(func() {
			r := newSource(100 + seed)
			for {
				select {
				case <-done:
					return
				default:
				}
				newest := s.State().Height
				height := newest - r.Uint64N(min(newest, 20))
				reader, err := s.At(height)
				if err != nil {
					t.Error(err)
					return
				}
				checkReader(t, reader, m.heights[height], height)
				if _, err := s.Get(statetree.Key{}); err != nil {
					t.Error(err)
				}
				if _, err := s.Range(nil, nil, 10); err != nil {
					t.Error(err)
				}
				if err := reader.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for height := uint64(2); height <= 150; height++ {
		commit(t, s, height, blocks[height-1], store.Also{Records: []store.Record{{Key: []byte{byte(height)}, Value: []byte("v")}}})
	}
	close(done)
	readers.Wait()
	m.records = nil
	for height := range uint64(150) {
		m.checkHeight(t, s, height)
	}
}

func TestClose_EndsReadersCleanly(t *testing.T) {
	s := open(t, vfs.NewMem())
	commit(t, s, 1, newSource(1).changes(40), store.Also{})
	p, err := s.Prepare(2, nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := s.At(1)
	if err != nil {
		t.Fatal(err)
	}
	// One read is under way when the store is closed, at the first of its leaves.
	reading, sign := make(chan struct{}), make(chan struct{})
	ended := make(chan error)
	go func() {
		first := true
		ended <- reader.Leaves(statetree.Key{}, func(_ statetree.Key, v []byte) error {
			before := bytes.Clone(v)
			if first {
				first = false
				reading <- struct{}{}
				<-sign
			}
			if !bytes.Equal(v, before) {
				t.Error("the value changed under the reader")
			}
			return nil
		})
	}()
	<-reading
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	for { // until Close has begun
		if _, err := s.At(1); errors.Is(err, store.ErrClosed) {
			break
		}
	}
	select {
	case err := <-closed:
		t.Fatalf("closed while a read is under way: %v", err)
	default:
	}
	close(sign)
	if err := <-ended; !errors.Is(err, store.ErrClosed) {
		t.Errorf("the read that was under way: %v", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	for what, err := range map[string]error{
		"get":     second(reader.Get(statetree.Key{})),
		"page":    second(reader.Page(statetree.PageID{})),
		"prove":   second(reader.Prove(statetree.Key{})),
		"leaves":  reader.Leaves(statetree.Key{}, nil),
		"at":      second(s.At(1)),
		"newest":  second(s.Get(statetree.Key{})),
		"record":  second(s.Record(nil)),
		"range":   second(s.Range(nil, nil, 1)),
		"prepare": second(s.Prepare(2, nil)),
		"commit":  p.Commit(store.Also{}),
		"check":   s.Check(),
		"close":   s.Close(),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s after the end: %v", what, err)
		}
	}
	if err := reader.Close(); err != nil {
		t.Errorf("closing the reader afterwards: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
