package frame_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/redis/go-redis/v9"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
	"github.com/confab-chat/confab/stream/pebblestore"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

// The benchmarks run confab and what it stands on with the same messages:
//
//	go test ./stream/frame -run '^$' -bench Append -benchtime 100000x
//	go test ./stream/frame -run '^$' -bench Stored -benchtime 200000x
//	go test ./stream/frame -run '^$' -bench 'Drain|Idle' -benchtime 1x
//
// Append is the engine alone: 20 writers with a stream each, and so many appends
// in flight each. Stored is a whole server, in a process of its own, behind TLS:
// each message is appended by one connection and pushed to another.

const (
	pairs    = 20
	bodySize = 512
)

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load has pairs writers, each with some appends in flight, make b.N appends, and
// reports latencies. append calls done once the message is durable.
func load(b *testing.B, flying int, append func(pair int, m stream.Message, done func(error))) {
	b.Helper()
	latencies := make([][]time.Duration, pairs)
	var all sync.WaitGroup
	b.ResetTimer()
	for pair := range pairs {
		n := b.N / pairs
		if pair < b.N%pairs {
			n++
		}
		latencies[pair] = make([]time.Duration, n)
		all.Add(1)
		go func() {
			defer all.Done()
			slots := make(chan struct{}, flying)
			for i := range n {
				slots <- struct{}{}
				m := stream.Message{Body: make([]byte, bodySize)}
				binary.BigEndian.PutUint64(m.ID[:], uint64(pair)<<32|uint64(i))
				copy(m.Body, m.ID[:])
				began := time.Now()
				append(pair, m, func(err error) {
					if err != nil {
						b.Error(err)
					}
					latencies[pair][i] = time.Since(began)
					<-slots
				})
			}
			for range flying {
				slots <- struct{}{}
			}
		}()
	}
	all.Wait()
	b.StopTimer()
	sorted := slices.Concat(latencies...)
	slices.Sort(sorted)
	if len(sorted) > 0 {
		b.ReportMetric(float64(sorted[len(sorted)/2].Microseconds())/1e3, "p50-ms")
		b.ReportMetric(float64(sorted[len(sorted)*99/100].Microseconds())/1e3, "p99-ms")
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

func perMessage(b *testing.B, used time.Duration) float64 {
	return float64(used.Nanoseconds()) / 1e3 / float64(b.N)
}

func BenchmarkAppend(b *testing.B) {
	for _, flying := range []int{1, 16} {
		base := map[string]float64{}
		for _, engine := range []struct {
			name, base string
			run        func(b *testing.B, flying int) float64
		}{
			{"raw-pebble", "", rawPebble},
			{"pebble", "raw-pebble", func(b *testing.B, flying int) float64 {
				s, err := pebblestore.Open(b.TempDir(), pebblestore.Options{Reserve: 1})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				return appends(b, s, flying, func() time.Duration { return 0 })
			}},
			{"raw-xadd", "", rawXAdd},
			{"redis", "raw-xadd", func(b *testing.B, flying int) float64 {
				server := streamtest.StartRedis(b)
				s, err := redisstore.Open(b.Context(), server.URL, redisstore.Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				return appends(b, s, flying, usage(b, server))
			}},
		} {
			b.Run(fmt.Sprintf("%s/in-flight=%d", engine.name, flying), func(b *testing.B) {
				cost := engine.run(b, flying)
				base[engine.name] = cost
				b.ReportMetric(cost, "cpu-us/msg")
				if base[engine.base] > 0 {
					b.ReportMetric(cost/base[engine.base], "x-raw")
				}
			})
		}
	}
}

func usage(b *testing.B, server *streamtest.RedisServer) func() time.Duration {
	return func() time.Duration {
		used, err := server.Usage()
		if err != nil {
			b.Fatal(err)
		}
		return used
	}
}

// appends measures a store; others is the processor time of its other processes.
func appends(b *testing.B, s stream.Store, flying int, others func() time.Duration) float64 {
	for pair := range pairs {
		if err := s.Configure(b.Context(), stream.ID{byte(pair)}, stream.Settings{}); err != nil {
			b.Fatal(err)
		}
	}
	before := cpu() + others()
	load(b, flying, func(pair int, m stream.Message, done func(error)) {
		s.Submit(stream.ID{byte(pair)}, m, func(_ stream.Receipt, err error) { done(err) })
	})
	return perMessage(b, cpu()+others()-before)
}

// rawPebble writes the same bytes with Pebble's own group commit, one batch and
// one goroutine for each append in flight.
func rawPebble(b *testing.B, flying int) float64 {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}, MemTableSize: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	before := cpu()
	load(b, flying, func(pair int, m stream.Message, done func(error)) {
		go func() {
			batch := db.NewBatch()
			key := append([]byte{'e', byte(pair)}, m.ID[:]...)
			batch.Set(key, append(m.Body, make([]byte, 64)...), nil)
			key[0] = 'd'
			batch.Set(key, make([]byte, 24), nil)
			done(batch.Commit(pebble.Sync))
		}()
	})
	return perMessage(b, cpu()-before)
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

// rawXAdd adds to Redis streams, with as many connections as appends in flight.
func rawXAdd(b *testing.B, flying int) float64 {
	server := streamtest.StartRedis(b)
	o, err := redis.ParseURL(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	client := redis.NewClient(o)
	defer client.Close()
	queue := make(chan func(redis.Pipeliner) func(), 4096)
	ended := make(chan struct{})
	go func() { // one pipeline after the other, as any careful user would
		defer close(ended)
		for f := range queue {
			pipe := client.Pipeline()
			done := []func(){f(pipe)}
			for range min(len(queue), 511) {
				f := <-queue
				done = append(done, f(pipe))
			}
			pipe.Exec(context.Background())
			for _, d := range done {
				d()
			}
		}
	}()
	others := usage(b, server)
	before := cpu() + others()
	load(b, flying, func(pair int, m stream.Message, done func(error)) {
		queue <- func(pipe redis.Pipeliner) func() {
			cmd := pipe.XAdd(context.Background(), &redis.XAddArgs{Stream: fmt.Sprint(pair), Values: []any{"i", m.ID[:], "b", m.Body}})
			return func() { done(cmd.Err()) }
		}
	})
	cost := perMessage(b, cpu()+others()-before)
	close(queue)
	<-ended
	return cost
}

// serverProcess is a whole server in a process of its own.
type serverProcess struct {
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
}

func startServer(tb testing.TB, store string, env ...string) *serverProcess {
	tb.Helper()
	p := &serverProcess{cmd: exec.Command(os.Args[0], "-test.run=^TestChild_Serve$")}
	p.cmd.Env = append(append(os.Environ(), "CONFAB_TEST_STORE="+store), env...)
	p.cmd.Stderr = os.Stderr
	p.in, _ = p.cmd.StdinPipe()
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Scan()
	p.addr = p.out.Text()
	tb.Cleanup(p.stop)
	return p
}

func (p *serverProcess) stop() {
	p.in.Close()
	if os.Getenv("CONFAB_TEST_PROFILE") == "" { // else it must write it
		p.cmd.Process.Kill()
	}
	p.cmd.Wait()
}

// usage returns the processor time and memory that the server has used.
func (p *serverProcess) usage(tb testing.TB) (used time.Duration, bytes int64) {
	tb.Helper()
	fmt.Fprintln(p.in, "usage")
	if !p.out.Scan() {
		tb.Fatal("the server is gone")
	}
	if _, err := fmt.Sscan(p.out.Text(), &used, &bytes); err != nil {
		tb.Fatal(err)
	}
	return used, bytes
}

// TestChild_Serve is the server's process: not a test, unless it is told to be.
func TestChild_Serve(t *testing.T) {
	where := os.Getenv("CONFAB_TEST_STORE")
	if where == "" {
		t.Skip("only for tests that start it")
	}
	store, err := openAnywhere(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 64 {
		if err := store.Configure(t.Context(), stream.ID{byte(n)}, stream.Settings{Readers: []stream.Reader{{1}}, TTL: 30 * 24 * time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	var listener net.Listener
	if listener, err = net.Listen("tcp", "127.0.0.1:0"); err == nil && os.Getenv("CONFAB_TEST_PLAIN") == "" {
		listener = tls.NewListener(listener, serverTLS(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	server := frame.NewServer(store, frame.Options{})
	if name := os.Getenv("CONFAB_TEST_PROFILE"); name != "" {
		f, err := os.Create(name)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go server.Serve(context.Background(), frame.Over(c), &door{reader: stream.Reader{1}})
		}
	}()
	fmt.Println(listener.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println(int64(cpu()), resident())
	}
	pprof.StopCPUProfile()
	store.Close()
	os.Exit(0)
}

func openAnywhere(ctx context.Context, where string) (stream.Store, error) {
	if strings.HasPrefix(where, "redis://") {
		return redisstore.Open(ctx, where, redisstore.Options{})
	}
	return pebblestore.Open(where, pebblestore.Options{Reserve: 1, Now: steppingClock()})
}

// resident returns the memory that this process has in use.
func resident() int64 {
	b, _ := os.ReadFile("/proc/self/statm")
	var total, pages int64
	fmt.Sscan(string(b), &total, &pages)
	return pages * int64(os.Getpagesize())
}

func serverTLS(tb testing.TB) *tls.Config {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, DynamicRecordSizingDisabled: true}
}

func dialTLS(tb testing.TB, addr string) *frame.Client {
	tb.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // the key is made for this run
	if err != nil {
		tb.Fatal(err)
	}
	client, err := frame.Dial(context.Background(), frame.Over(c))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { client.Close() })
	return client
}

func BenchmarkStored(b *testing.B) {
	for _, flying := range []int{1, 16} {
		for _, acked := range []bool{false, true} {
			b.Run(fmt.Sprintf("pebble/in-flight=%d/acknowledged=%v", flying, acked), func(b *testing.B) {
				stored(b, startServer(b, b.TempDir()), flying, acked, func() time.Duration { return 0 })
			})
		}
		b.Run(fmt.Sprintf("redis/in-flight=%d", flying), func(b *testing.B) {
			server := streamtest.StartRedis(b)
			stored(b, startServer(b, server.URL), flying, false, usage(b, server))
		})
	}
}

// stored has 20 connections append and 20 others follow.
func stored(b *testing.B, p *serverProcess, flying int, acked bool, others func() time.Duration) {
	var writers []*frame.Client
	var readers sync.WaitGroup
	for pair := range pairs {
		writers = append(writers, dialTLS(b, p.addr))
		reader := dialTLS(b, p.addr)
		sub := subscribe(b, reader, stream.ID{byte(pair)}, 0)
		n := b.N / pairs
		if pair < b.N%pairs {
			n++
		}
		readers.Add(1)
		go func() {
			defer readers.Done()
			for last := uint64(0); last < uint64(n); {
				page, err := sub.Next(context.Background())
				if err != nil {
					b.Error(err)
					return
				}
				last = page.Last()
				if acked {
					reader.Acknowledge(stream.ID{byte(pair)}, last)
				}
			}
		}()
	}
	before, _ := p.usage(b)
	redisBefore := others()
	load(b, flying, func(pair int, m stream.Message, done func(error)) {
		writers[pair].Submit(stream.ID{byte(pair)}, m, func(_ stream.Receipt, err error) { done(err) })
	})
	readers.Wait()
	after, _ := p.usage(b)
	b.ReportMetric(perMessage(b, after-before), "server-us/msg")
	if used := others() - redisBefore; used > 0 {
		b.ReportMetric(perMessage(b, used), "redis-us/msg")
	}
}

// meteredConn counts what a client sends and gets.
type meteredConn struct {
	frame.Conn
	requests, bytes int
}

func (m *meteredConn) ReadFrame(limit int) ([]byte, error) {
	b, err := m.Conn.ReadFrame(limit)
	m.bytes += len(b)
	return b, err
}

func (m *meteredConn) WriteFrames(frames [][]byte) error {
	m.requests += len(frames)
	return m.Conn.WriteFrames(frames)
}

// drain fetches all that waits in a stream, by pages or by a subscription, and
// returns what it took.
func drain(tb testing.TB, conn frame.Conn, id stream.ID, waiting int, follow bool) (requests, bytes int) {
	tb.Helper()
	m := &meteredConn{Conn: conn}
	c, err := frame.Dial(context.Background(), m)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	tape := &streamtest.Tape{}
	next := func() (stream.Page, error) {
		return c.Range(context.Background(), id, tape.Last(), stream.MaxPage)
	}
	if follow {
		sub := subscribe(tb, c, id, 0)
		next = func() (stream.Page, error) { return sub.Next(context.Background()) }
	}
	for tape.Last() < uint64(waiting) {
		page, err := next()
		if err == nil {
			err = tape.Add(page)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return m.requests - 1, m.bytes // Hello is none
}

// A thousand waiting messages come in at most ten requests and 1.1 times their
// size, however they are asked for.
func TestDrain_TakesFewRequests(t *testing.T) {
	w := newWorld(t, newStore(t))
	id := w.stream(1)
	w.fill(id, 1, 1000, bodySize)
	for _, follow := range []bool{false, true} {
		requests, bytes := drain(t, w.raw(&door{}), id, 1000, follow)
		if requests > 10 || float64(bytes) > 1.1*1000*bodySize {
			t.Errorf("follow=%v: %d requests, %d bytes for %d", follow, requests, bytes, 1000*bodySize)
		}
	}
}

func BenchmarkDrain(b *testing.B) {
	for _, waiting := range []int{1000, 10_000} {
		for _, follow := range []bool{false, true} {
			b.Run(fmt.Sprintf("waiting=%d/subscribe=%v", waiting, follow), func(b *testing.B) {
				p := startServer(b, b.TempDir())
				writer := dialTLS(b, p.addr)
				var wait sync.WaitGroup
				for n := range waiting {
					wait.Add(1)
					writer.Submit(stream.ID{1}, message(n, bodySize), func(_ stream.Receipt, err error) {
						if err != nil {
							b.Error(err)
						}
						wait.Done()
					})
				}
				wait.Wait()
				var requests, bytes int
				b.ResetTimer()
				for b.Loop() {
					c, err := tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true})
					if err != nil {
						b.Fatal(err)
					}
					requests, bytes = drain(b, frame.Over(c), stream.ID{1}, waiting, follow)
				}
				b.ReportMetric(float64(requests), "requests")
				b.ReportMetric(float64(bytes)/float64(waiting*bodySize), "x-payload")
			})
		}
	}
}

// BenchmarkIdle has connections that follow a stream and hear nothing.
func BenchmarkIdle(b *testing.B) {
	const clients = 2000
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprintf("tls=%v", !plain), func(b *testing.B) {
			var env []string
			if plain {
				env = append(env, "CONFAB_TEST_PLAIN=1")
			}
			p := startServer(b, b.TempDir(), env...)
			b.ResetTimer()
			_, before := p.usage(b)
			for n := range clients {
				var c net.Conn
				var err error
				if plain {
					c, err = net.Dial("tcp", p.addr)
				} else {
					c, err = tls.Dial("tcp", p.addr, &tls.Config{InsecureSkipVerify: true})
				}
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { c.Close() })
				raw := frame.Over(c)
				say(b, raw, &frame.Hello{Least: 1, Most: 1}, &frame.Subscribe{Request: 1, Stream: stream.ID{byte(n % 64)}})
				hear(b, raw, &frame.Welcome{})
				hear(b, raw, &frame.Done{})
			}
			used, after := p.usage(b)
			b.ReportMetric(float64(after-before)/1024/clients, "KiB/client")
			time.Sleep(5 * time.Second)
			idle, _ := p.usage(b)
			b.ReportMetric(float64((idle-used).Microseconds())/5/clients, "cpu-us/s/client")
		})
	}
}
