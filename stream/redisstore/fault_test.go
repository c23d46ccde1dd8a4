package redisstore_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

func TestOpen_RefusesARedisThatLoses(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		say  string
	}{
		"syncs every second": {[]string{"--appendfsync", "everysec"}, "appendfsync always"},
		"keeps no file":      {[]string{"--appendonly", "no"}, "appendonly yes"},
		"evicts":             {[]string{"--maxmemory-policy", "allkeys-lru"}, "noeviction"},
		"pauses its syncs":   {[]string{"--no-appendfsync-on-rewrite", "yes"}, "no-appendfsync-on-rewrite no"},
	} {
		t.Run(name, func(t *testing.T) {
			server := streamtest.StartRedis(t, c.args...)
			_, err := redisstore.Open(t.Context(), server.URL, redisstore.Options{})
			if wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), c.say) {
				t.Errorf("open: %v", err)
			}
		})
	}
}

func TestOpen_SaysWhatIsWrong(t *testing.T) {
	_, err := redisstore.Open(t.Context(), "redis://user:secret@127.0.0.1:1", redisstore.Options{})
	if wire.CodeOf(err) != wire.Unavailable || strings.Contains(err.Error(), "secret") {
		t.Errorf("nobody there: %v", err)
	}
	_, err = redisstore.Open(t.Context(), "http://user:secret@127.0.0.1:1", redisstore.Options{})
	if wire.CodeOf(err) != wire.Invalid || strings.Contains(err.Error(), "secret") {
		t.Errorf("not a URL of Redis: %v", err)
	}
	_, err = redisstore.Open(t.Context(), "redis://127.0.0.1:1", redisstore.Options{Prefix: "a*"})
	if wire.CodeOf(err) != wire.Invalid {
		t.Errorf("a prefix that is a pattern: %v", err)
	}
}

func TestJudge(t *testing.T) {
	good := map[string]string{"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "no-appendfsync-on-rewrite": "no"}
	for _, c := range []struct {
		version  string
		replicas int
		say      string
	}{
		{"7.0.15", 0, ""}, {"7.2.4", 1, ""}, {"8.0.1", 2, ""}, {"10.0", 1, ""},
		{"6.2.1", 0, "too old"}, {"7.0.15", 1, "WAITAOF"}, {"", 0, "too old"}, {"x.y", 0, "too old"},
	} {
		err := redisstore.Judge(map[string]string{"redis_version": c.version}, good, c.replicas)
		if c.say == "" && err != nil || c.say != "" && (err == nil || !strings.Contains(err.Error(), c.say)) {
			t.Errorf("version %s with %d replicas: %v", c.version, c.replicas, err)
		}
	}
	err := redisstore.Judge(map[string]string{"redis_version": "7.0.1", "aof_last_write_status": "err"}, good, 0)
	if err == nil || !strings.Contains(err.Error(), "disk") {
		t.Errorf("a disk that is full: %v", err)
	}
}

// redisCLI runs a command on a server.
func redisCLI(t *testing.T, port int, args ...string) string {
	t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(port)}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Somebody makes Redis unsafe while it is in use.
func TestStore_StopsAppendingWhenRedisBecomesUnsafe(t *testing.T) {
	server := streamtest.StartRedis(t)
	s := open(t, server.URL, redisstore.Options{})
	id := stream.ID{1}
	if err := s.Configure(t.Context(), id, stream.Settings{}); err != nil {
		t.Fatal(err)
	}
	m := stream.Message{ID: stream.MessageID{1}, Body: []byte("one")}
	redisCLI(t, server.Port, "config", "set", "appendfsync", "everysec")
	if redisstore.Check(s) == nil {
		t.Error("nobody noticed")
	}
	if _, err := stream.Append(t.Context(), s, id, m); wire.CodeOf(err) != wire.Unavailable || !strings.Contains(err.Error(), "appendfsync") {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Range(t.Context(), id, 0, 100); err != nil {
		t.Errorf("range: %v", err)
	}
	redisCLI(t, server.Port, "config", "set", "appendfsync", "always")
	if err := redisstore.Check(s); err != nil {
		t.Error(err)
	}
	if _, err := stream.Append(t.Context(), s, id, m); err != nil {
		t.Errorf("append: %v", err)
	}
}

// soak has writers and readers use a store, each writer until its message is
// answered, while something happens to Redis.
func soak(t *testing.T, stores []*redisstore.Store, happen func()) {
	t.Helper()
	const writers, each = 16, 60
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ledger := streamtest.NewLedger()
	ids := []stream.ID{{1}, {2}, {3}}
	for _, id := range ids {
		if err := stores[0].Configure(ctx, id, stream.Settings{}); err != nil {
			t.Fatal(err)
		}
	}
	var all, readers sync.WaitGroup
	for i, id := range ids {
		readers.Add(1)
		go func() {
			defer readers.Done()
			if err := follow(ctx, stores[(i+1)%len(stores)], id, ledger, writers*each/len(ids)); err != nil {
				t.Error(err)
			}
		}()
	}
	for w := range writers {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := range each {
				id := ids[(w+n)%len(ids)]
				m := ledger.Message(id, w, n, 300)
				for {
					r, err := stream.Append(ctx, stores[w%len(stores)], id, m)
					if err == nil {
						if err := ledger.Answered(id, m.ID, r.Seq); err != nil {
							t.Error(err)
						}
						break
					}
					if wire.CodeOf(err) != wire.Unavailable || ctx.Err() != nil {
						t.Errorf("append: %v", err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
				if n == each/3 && w == 0 {
					happen()
				}
			}
		}()
	}
	all.Wait()
	readers.Wait()
	if err := ledger.CheckAll(ctx, stores[0]); err != nil {
		t.Error(err)
	}
}

// follow reads a stream, woken by the store, until it has so many entries.
func follow(ctx context.Context, s *redisstore.Store, id stream.ID, ledger *streamtest.Ledger, many int) error {
	bell := make(bell, 1)
	stop, err := s.Watch(ctx, id, bell)
	if err != nil {
		return err
	}
	defer stop()
	tape := &streamtest.Tape{}
	for len(tape.Entries) < many {
		page, err := s.Range(ctx, id, tape.Last(), 4096)
		if wire.CodeOf(err) == wire.Unavailable && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if err == nil {
			err = tape.Add(page)
		}
		if err != nil {
			return err
		}
		if len(page.Entries) == 0 {
			select {
			case <-bell:
			case <-ctx.Done():
				return fmt.Errorf("a reader was not woken: it has %d of %d", len(tape.Entries), many)
			}
		}
	}
	return nil
}

type bell chan struct{}

func (b bell) Woken(uint64) {
	select {
	case b <- struct{}{}:
	default:
	}
}

func (b bell) Heard([]byte) {}

func TestSoak_RedisIsKilledInTheMiddle(t *testing.T) {
	server := streamtest.StartRedis(t)
	soak(t, []*redisstore.Store{open(t, server.URL, redisstore.Options{}), open(t, server.URL, redisstore.Options{})}, func() {
		server.Kill()
		server.Start()
	})
}

func TestSoak_RedisIsSlow(t *testing.T) {
	server := streamtest.StartRedis(t)
	soak(t, []*redisstore.Store{open(t, server.URL, redisstore.Options{})}, func() {
		server.Signal(syscall.SIGSTOP)
		time.AfterFunc(1500*time.Millisecond, func() { server.Signal(syscall.SIGCONT) })
	})
}

func TestSoak_ThreeProcessesShareOneRedis(t *testing.T) {
	server := streamtest.StartRedis(t)
	var stores []*redisstore.Store
	for range 3 {
		stores = append(stores, open(t, server.URL, redisstore.Options{}))
	}
	soak(t, stores, func() {})
}

// Redis forgets our functions, as a new server of a cluster would not have them.
func TestStore_GivesRedisItsFunctionsAgain(t *testing.T) {
	server := streamtest.StartRedis(t)
	soak(t, []*redisstore.Store{open(t, server.URL, redisstore.Options{})}, func() {
		redisCLI(t, server.Port, "function", "flush")
	})
}

// cluster starts two servers that share the slots.
func cluster(t *testing.T) string {
	t.Helper()
	a := streamtest.StartRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "3000")
	b := streamtest.StartRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "3000")
	redisCLI(t, a.Port, "cluster", "addslotsrange", "0", "8000")
	redisCLI(t, b.Port, "cluster", "addslotsrange", "8001", "16383")
	redisCLI(t, a.Port, "cluster", "meet", "127.0.0.1", fmt.Sprint(b.Port))
	for _, port := range []int{a.Port, b.Port} {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if info := redisCLI(t, port, "cluster", "info"); strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the cluster does not form")
			}
		}
	}
	return a.URL
}

func TestStore_KeepsTheContractOnACluster(t *testing.T) {
	url := cluster(t)
	t.Run("two servers", func(t *testing.T) {
		streamtest.Run(t, func(t *testing.T) streamtest.Subject { return subject(t, url) })
	})
}

// No read writes: what Redis has logged is the same after many.
func TestRead_WritesNothing(t *testing.T) {
	server := streamtest.StartRedis(t)
	s := open(t, server.URL, redisstore.Options{})
	id := stream.ID{1}
	if err := s.Configure(t.Context(), id, stream.Settings{TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		m := stream.Message{ID: stream.MessageID{byte(n)}, Body: make([]byte, 100)}
		if _, err := stream.Append(t.Context(), s, id, m); err != nil {
			t.Fatal(err)
		}
	}
	logged := func() string {
		for line := range strings.Lines(redisCLI(t, server.Port, "info", "persistence")) {
			if strings.HasPrefix(line, "aof_current_size:") {
				return line
			}
		}
		return "unknown"
	}
	before := logged()
	for n := range 500 {
		if _, err := s.Range(t.Context(), id, uint64(n%20), 500); err != nil {
			t.Fatal(err)
		}
		if _, err := s.State(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if after := logged(); after != before {
		t.Errorf("log grew from %s to %s", before, after)
	}
}
