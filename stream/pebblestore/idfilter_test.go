package pebblestore_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

func TestIDFilter_KnowsItsOwnAndFewOthers(t *testing.T) {
	const room = 1 << 17
	others, missing := pebblestore.FilterMistakes(room)
	if missing > 0 {
		t.Errorf("%d ids of %d are forgotten", missing, room)
	}
	if others > room*15/1000 {
		t.Errorf("%d of %d other ids would be looked up", others, room)
	}
}

// numbered is the message of a number.
func numbered(n int) stream.Message {
	m := stream.Message{Body: []byte("body")}
	binary.BigEndian.PutUint64(m.ID[:], uint64(n))
	return m
}

// appendAll appends messages of these numbers and returns the answers.
func appendAll(t *testing.T, s *pebblestore.Store, id stream.ID, from, to int) []stream.Receipt {
	t.Helper()
	receipts := make([]stream.Receipt, to-from)
	var wait sync.WaitGroup
	for n := from; n < to; n++ {
		wait.Add(1)
		s.Submit(id, numbered(n), func(r stream.Receipt, err error) {
			defer wait.Done()
			if err != nil {
				t.Error(err)
			}
			receipts[n-from] = r
		})
	}
	wait.Wait()
	return receipts
}

// retry appends again what was appended, which must be there.
func retry(t *testing.T, s *pebblestore.Store, id stream.ID, from, to int) {
	t.Helper()
	for i, r := range appendAll(t, s, id, from, to) {
		if !r.Again || r.Seq != uint64(from+i+1) {
			t.Fatalf("message %d appended again: %+v", from+i, r)
		}
	}
}

func filtered(t *testing.T, s *pebblestore.Store) (room int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); room == 0; room = pebblestore.FilterRoom(s) {
		if time.Now().After(deadline) {
			t.Fatal("the filter does not get ready")
		}
		runtime.Gosched()
	}
	return room
}

// A retry is known as one before there is a filter, with one that was made from
// the database, with one that grew, and after the store was opened again.
func TestStore_KnowsRetriesWhateverItsFilterKnows(t *testing.T) {
	dir, id := t.TempDir(), stream.ID{1}
	s := open(t, dir, pebblestore.Options{Reserve: 1})
	configure(t, s, id, stream.Settings{})
	const few, many = 3000, 9000
	appendAll(t, s, id, 0, few)
	pebblestore.FilterIDs(s, 1000)
	retry(t, s, id, 0, few) // perhaps while it is made
	if room := filtered(t, s); room != 4000 {
		t.Errorf("filter of %d ids has room for %d", few, room)
	}
	retry(t, s, id, 0, few)
	appendAll(t, s, id, few, many)
	retry(t, s, id, 0, many)
	pebblestore.Step(s, time.Second) // when a full one is noticed
	if room := filtered(t, s); room < many {
		t.Errorf("filter of %d ids has room for %d", many, room)
	}
	retry(t, s, id, 0, many)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, pebblestore.Options{Reserve: 1})
	retry(t, s, id, 0, 100)
	filtered(t, s)
	retry(t, s, id, 0, many)
	if state, err := s.State(t.Context(), id); err != nil || state.Head.Seq != many {
		t.Errorf("%d entries, %v", state.Head.Seq, err)
	}
}

// Messages that come while a filter is made are in it, in whatever batch.
func TestStore_KnowsRetriesOfWhatComesWhileItsFilterIsMade(t *testing.T) {
	id := stream.ID{1}
	s := open(t, t.TempDir(), pebblestore.Options{Reserve: 1})
	configure(t, s, id, stream.Settings{})
	const each, times = 500, 10
	for n := range times {
		var wait sync.WaitGroup
		wait.Go(func() { appendAll(t, s, id, n*each, (n+1)*each) })
		for range 20 {
			pebblestore.FilterIDs(s, 1<<14)
			filtered(t, s)
		}
		wait.Wait()
		retry(t, s, id, 0, (n+1)*each)
	}
}

// Ids of the age before are known after the filter of a new age was made.
func TestStore_KnowsRetriesOfTheLastAgeInItsFilter(t *testing.T) {
	id := stream.ID{1}
	s := open(t, t.TempDir(), pebblestore.Options{Reserve: 1})
	configure(t, s, id, stream.Settings{})
	appendAll(t, s, id, 0, 100)
	pebblestore.Pass(s, stream.Remember)
	filtered(t, s)
	retry(t, s, id, 0, 100)
}
