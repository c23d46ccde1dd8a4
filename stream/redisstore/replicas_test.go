package redisstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/redisstore"
	"github.com/confab-chat/confab/stream/streamtest"
)

// What was answered is on the replica when the first server is gone for ever.
func TestStore_FailoverLosesNothingThatWasAnswered(t *testing.T) {
	first := streamtest.StartRedis(t)
	if v := redisVersion(t); v < 7.2 {
		t.Skipf("redis-server %.1f has no WAITAOF: a failover to a replica is NOT TESTED here; name a server of version 7.2 or newer in CONFAB_REDIS_SERVER", v)
	}
	second := streamtest.StartRedis(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(first.Port))
	s := open(t, first.URL, redisstore.Options{Replicas: 1})
	id, ledger := stream.ID{1}, streamtest.NewLedger()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for s.Configure(ctx, id, stream.Settings{}) != nil {
		if ctx.Err() != nil {
			t.Fatal("the replica does not follow")
		}
	}
	const many = 500
	for n := range many {
		m := ledger.Message(id, 1, n, 300)
		r, err := stream.Append(ctx, s, id, m)
		if err == nil {
			err = ledger.Answered(id, m.ID, r.Seq)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first.Kill()
	redisCLI(t, second.Port, "replicaof", "no", "one")
	if err := ledger.CheckAll(ctx, open(t, second.URL, redisstore.Options{})); err != nil {
		t.Error(err)
	}
	if n := ledger.Count(); n != many {
		t.Errorf("%d of %d messages were answered", n, many)
	}
}

// redisVersion returns 7.2 for a redis-server 7.2.4.
func redisVersion(t *testing.T) float64 {
	t.Helper()
	out, err := exec.Command(streamtest.RedisBinary(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(out), "v=")
	parts := strings.SplitN(text, ".", 3)
	v, err := strconv.ParseFloat(strings.Join(parts[:min(2, len(parts))], "."), 64)
	if err != nil {
		t.Fatalf("redis-server says its version is %q", out)
	}
	return v
}

// An append is asked to be on so many replicas' disks, on the connection that it
// went over, and is answered only if it is. The server is one that cannot wait, so
// what it is asked is noted on the way and answered in its place.
func TestStore_AnswersOnlyWhatIsOnEnoughReplicas(t *testing.T) {
	server := streamtest.StartRedis(t)
	p := &replicaProxy{t: t, to: fmt.Sprintf("127.0.0.1:%d", server.Port)}
	p.replicas.Store(2)
	s := open(t, p.start(), redisstore.Options{Replicas: 2})
	id, m := stream.ID{1}, stream.Message{ID: stream.MessageID{1}, Body: []byte("one")}
	if err := s.Configure(t.Context(), id, stream.Settings{}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Append(t.Context(), s, id, m)
	if err != nil || r.Seq != 1 {
		t.Fatalf("append: %+v, %v", r, err)
	}
	if asked, _ := p.asked.Load().(string); asked != "1 2" {
		t.Errorf("Redis was asked to wait for %q: the server itself and 2 replicas", asked)
	}
	p.replicas.Store(1)
	m.ID[0] = 2
	if r, err := stream.Append(t.Context(), s, id, m); wire.CodeOf(err) != wire.Unavailable {
		t.Errorf("append with one replica of two: %+v, %v", r, err)
	}
	p.replicas.Store(2)
	if r, err := stream.Append(t.Context(), s, id, m); err != nil || r.Seq != 2 || !r.Again {
		t.Errorf("the same append later: %+v, %v", r, err)
	}
}

// replicaProxy stands before a Redis and answers for replicas that there are not.
type replicaProxy struct {
	t        *testing.T
	to       string
	replicas atomic.Int64 // that have what was written on their disks
	asked    atomic.Value // the first two arguments of the last WAITAOF
}

func (p *replicaProxy) start() (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return "redis://" + l.Addr().String()
}

func (p *replicaProxy) serve(c net.Conn) {
	defer c.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(c, server)
		c.Close()
	}()
	for in := bufio.NewReader(c); ; {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		switch name := strings.ToUpper(command[0]); {
		case name == "WAITAOF" && len(command) == 4:
			p.asked.Store(command[1] + " " + command[2])
			command = []string{"EVAL", "return {1, tonumber(ARGV[1])}", "0", strconv.FormatInt(p.replicas.Load(), 10)}
		case name == "INFO" && len(command) == 3: // of its version
			command = []string{"EVAL", `return (string.gsub(redis.call('INFO', 'server') .. redis.call('INFO', 'persistence'), 'redis_version:[%d.]+', 'redis_version:7.2.0'))`, "0"}
		}
		b := fmt.Appendf(nil, "*%d\r\n", len(command))
		for _, part := range command {
			b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(part), part)
		}
		if _, err := server.Write(b); err != nil {
			return
		}
	}
}

// readCommand reads one command in the form in which clients write them.
func readCommand(in *bufio.Reader) ([]string, error) {
	count, err := readLength(in, '*')
	if err != nil {
		return nil, err
	}
	command := make([]string, count)
	for i := range command {
		n, err := readLength(in, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		command[i] = string(b[:n])
	}
	return command, nil
}

func readLength(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("a command begins with %q", line)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}
