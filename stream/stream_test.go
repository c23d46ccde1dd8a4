package stream_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// The chain is frozen: others compute it too.
func TestHead_Vector(t *testing.T) {
	id := stream.ID{1, 2, 3}
	head := stream.Genesis(id)
	want := sha256.Sum256(append([]byte("confab/stream-chain/1\n"), id[:]...))
	if head.Seq != 0 || head.Hash != want {
		t.Errorf("genesis is %x", head.Hash)
	}
	head = head.Follow([]stream.Entry{
		{Seq: 1, ID: stream.MessageID{1}, Body: []byte("hello")},
		{Seq: 2, ID: stream.MessageID{2}, Body: nil},
	})
	if got := hex.EncodeToString(head.Hash[:]); head.Seq != 2 || got != "2841903fee848bcd76d101c2ff44ac4cd6b127181537e68de59e2436e66ce157" {
		t.Errorf("head %d is %s", head.Seq, got)
	}
	m := head.Message(id)
	if len(m) != len(stream.TagHead)+32+8+32 || string(m[:len(stream.TagHead)]) != string(stream.TagHead) {
		t.Errorf("what is signed is %x", m)
	}
}

// Anything that changes in an entry changes the head, and so does its place.
func TestHead_CoversEverything(t *testing.T) {
	base := stream.Genesis(stream.ID{1})
	sum := sha256.Sum256([]byte("body"))
	other := sha256.Sum256([]byte("other"))
	seen := map[[32]byte]string{}
	for name, h := range map[string]stream.Head{
		"an entry":         base.Next(stream.MessageID{1}, sum),
		"another id":       base.Next(stream.MessageID{2}, sum),
		"another body":     base.Next(stream.MessageID{1}, other),
		"another place":    stream.Head{Seq: 1, Hash: base.Hash}.Next(stream.MessageID{1}, sum),
		"another stream":   stream.Genesis(stream.ID{2}).Next(stream.MessageID{1}, sum),
		"the one after it": base.Next(stream.MessageID{1}, sum).Next(stream.MessageID{1}, sum),
	} {
		if twin, ok := seen[h.Hash]; ok {
			t.Errorf("%s has the hash of %s", name, twin)
		}
		seen[h.Hash] = name
	}
}

func TestClock_FollowsRealTimeAndNoSteps(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	var c stream.Clock
	now := start
	advance := func(d time.Duration, want uint64) {
		t.Helper()
		now = now.Add(d)
		if c.Advance(now, time.Minute); c.Seconds != want {
			t.Fatalf("after a step of %s the clock shows %d, want %d", d, c.Seconds, want)
		}
	}
	advance(0, 0)
	advance(10*time.Second, 10)
	advance(-5*time.Hour, 10)         // set back
	advance(700*time.Millisecond, 10) // and running on
	advance(700*time.Millisecond, 11)
	advance(9*time.Hour, 71) // set forward: no further than it is trusted
	advance(time.Second, 72)
}

func TestErrors_HaveKinds(t *testing.T) {
	for err, code := range map[error]wire.Code{
		stream.ErrNotFound:      wire.NotFound,
		stream.ErrTooLarge:      wire.Invalid,
		stream.ErrReused:        wire.Exists,
		stream.ErrFull:          wire.Exhausted,
		stream.ErrAhead:         wire.Conflict,
		stream.ErrUnknownReader: wire.Unauthorized,
		stream.ErrClosed:        wire.Unavailable,
		&stream.HeadError{}:     wire.Conflict,
	} {
		if got := wire.CodeOf(err); got != code {
			t.Errorf("%v is %s", err, got)
		}
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "streams")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	ctx, queue, phone := context.Background(), stream.ID{1}, stream.Reader{1}
	store.Configure(ctx, queue, stream.Settings{MaxEntries: 10_000, TTL: 30 * 24 * time.Hour, Readers: []stream.Reader{phone}})

	m := stream.Message{ID: stream.MessageID{7}, Body: []byte("ciphertext")}
	first, _ := stream.Append(ctx, store, queue, m)
	again, _ := stream.Append(ctx, store, queue, m) // the answer was lost, say
	fmt.Println(first.Seq, again.Seq, again.Again)

	page, _ := store.Range(ctx, queue, 0, stream.MaxPage)
	fmt.Printf("%s\n", page.Entries[0].Body)
	fmt.Println(store.Acknowledge(ctx, queue, phone, page.Last()))
	// Output:
	// 1 1 true
	// ciphertext
	// <nil>
}
