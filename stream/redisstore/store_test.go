package redisstore_test

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

func open(t testing.TB, url string, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// subject returns a store of its own on a server.
func subject(t *testing.T, url string) streamtest.Subject {
	o := redisstore.Options{Prefix: "test-" + rand.Text()}
	s := open(t, url, o)
	return streamtest.Subject{
		Store: s,
		Sweep: func(ctx context.Context) error { return s.Sweep(ctx) },
		Pass:  func(d time.Duration) { redisstore.Pass(s, d) },
		Step:  func(d time.Duration) { redisstore.Step(s, d) },
		Again: func() stream.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, url, o)
			return s
		},
	}
}

func TestStore_KeepsTheContract(t *testing.T) {
	server := streamtest.StartRedis(t)
	t.Run("one server", func(t *testing.T) {
		streamtest.Run(t, func(t *testing.T) streamtest.Subject { return subject(t, server.URL) })
	})
}
