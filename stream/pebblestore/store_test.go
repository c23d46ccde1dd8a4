package pebblestore_test

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/streamtest"
)

func epoch() time.Time { return time.Unix(1_800_000_000, 0) }

func open(t testing.TB, dir string, o pebblestore.Options) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore_KeepsTheContract(t *testing.T) {
	streamtest.Run(t, func(t *testing.T) streamtest.Subject {
		o := pebblestore.Options{FS: vfs.NewMem(), Now: epoch}
		s := open(t, "streams", o)
		t.Cleanup(func() { s.Close() })
		return streamtest.Subject{
			Store: s,
			Sweep: func(ctx context.Context) error { return s.Sweep(ctx) },
			Pass:  func(d time.Duration) { pebblestore.Pass(s, d) },
			Step:  func(d time.Duration) { pebblestore.Step(s, d) },
			Again: func() stream.Store {
				if err := s.Check(t.Context()); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, "streams", o)
				return s
			},
		}
	})
}
