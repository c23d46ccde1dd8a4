package mail

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// redisSystem is a Redis server whose streams are appended to with XADD and
// followed with a blocking XREAD. The client writes the protocol itself, commands
// in one packet as they come, so that nothing is measured but the server.
type redisSystem struct {
	child *child
	addr  string
}

func startRedis(t *testing.T) system {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("%v: install redis-server", err)
	}
	// A shell says where it is and becomes the server.
	cmd := exec.Command("sh", "-c", `echo "AT here"; exec "$0" "$@"`, binary,
		"--port", strconv.Itoa(addr.Port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--logfile", "/dev/null",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")
	s := &redisSystem{child: startOnCore(t, cmd), addr: addr.String()}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
}

func (s *redisSystem) processes() []int { return s.child.processes() }

func (s *redisSystem) close() {
	s.child.cmd.Process.Kill()
	s.child.stop()
}

func (s *redisSystem) connect(pair int, received func([]byte)) (sender, error) {
	reader, err := net.Dial("tcp", s.addr)
	if err != nil {
		return nil, err
	}
	writer, err := net.Dial("tcp", s.addr)
	if err != nil {
		reader.Close()
		return nil, err
	}
	key := fmt.Sprint("pair", pair, "-", time.Now().UnixNano())
	p := &redisPair{writer: writer, reader: reader, key: key, stored: make(chan func(error), 1024)}
	p.work.L = &p.mu
	go p.writeLoop()
	go p.answers()
	go p.follow(received)
	return p, nil
}

type redisPair struct {
	writer, reader net.Conn
	key            string
	stored         chan func(error)

	mu     sync.Mutex
	work   sync.Cond
	packet []byte
	closed bool
}

func command(b []byte, args ...[]byte) []byte {
	b = fmt.Appendf(b, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n", len(a))
		b = append(append(b, a...), '\r', '\n')
	}
	return b
}

func (p *redisPair) send(body []byte, stored func(error)) error {
	p.stored <- stored
	p.mu.Lock()
	p.packet = command(p.packet, []byte("XADD"), []byte(p.key), []byte("*"), []byte("m"), body)
	p.mu.Unlock()
	p.work.Signal()
	return nil
}

func (p *redisPair) writeLoop() {
	var packet []byte
	for {
		p.mu.Lock()
		for len(p.packet) == 0 && !p.closed {
			p.work.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return
		}
		packet, p.packet = p.packet, packet[:0]
		p.mu.Unlock()
		if _, err := p.writer.Write(packet); err != nil {
			return
		}
	}
}

func (p *redisPair) answers() {
	in := bufio.NewReader(p.writer)
	for {
		v, err := reply(in)
		if err != nil {
			return
		}
		if e, ok := v.(error); ok {
			(<-p.stored)(e)
		} else {
			(<-p.stored)(nil)
		}
	}
}

// follow reads a stream from its beginning, waiting for what is not there yet.
func (p *redisPair) follow(received func([]byte)) {
	in := bufio.NewReaderSize(p.reader, 64<<10)
	last := []byte("0")
	for {
		ask := command(nil, []byte("XREAD"), []byte("COUNT"), []byte("1000"), []byte("BLOCK"), []byte("0"), []byte("STREAMS"), []byte(p.key), last)
		if _, err := p.reader.Write(ask); err != nil {
			return
		}
		v, err := reply(in)
		if err != nil {
			return
		}
		streams, ok := v.([]any)
		if !ok || len(streams) != 1 {
			return
		}
		for _, e := range streams[0].([]any)[1].([]any) {
			entry := e.([]any)
			last = entry[0].([]byte)
			received(entry[1].([]any)[1].([]byte))
		}
	}
}

// reply reads one answer: bytes, an error, or a list of answers.
func reply(in *bufio.Reader) (any, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], string(line[1:len(line)-2])
	n, _ := strconv.Atoi(text)
	switch kind {
	case '-':
		return fmt.Errorf("redis: %s", text), nil
	case '$':
		b := make([]byte, n+2)
		for got := 0; got < len(b); {
			m, err := in.Read(b[got:])
			if err != nil {
				return nil, err
			}
			got += m
		}
		return b[:n], nil
	case '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = reply(in); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return []byte(text), nil
}

func (p *redisPair) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.work.Broadcast()
	p.writer.Close()
	p.reader.Close()
}
