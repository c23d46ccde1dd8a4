package streamtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A RedisServer is a real one, in a process of its own.
type RedisServer struct {
	URL  string
	Port int

	t    testing.TB
	dir  string
	args []string

	mu      sync.Mutex
	process *exec.Cmd
}

// StartRedis starts a Redis server that syncs every write, with further
// arguments for its command line. It ends with the test. Without redis-server on
// this machine the test is skipped, or fails where CI runs it. Another binary can
// be named in CONFAB_REDIS_SERVER.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &RedisServer{
		URL: fmt.Sprintf("redis://127.0.0.1:%d/0", port), Port: port,
		t: t, dir: t.TempDir(),
		args: append([]string{
			"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--save", "",
			"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
		}, args...),
	}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// RedisBinary returns the redis-server that StartRedis starts. Without one the test
// is skipped, or fails where CI runs it.
func RedisBinary(t testing.TB) string {
	t.Helper()
	name := os.Getenv("CONFAB_REDIS_SERVER")
	if name == "" {
		name = "redis-server"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: it must be installed where CI is set", err)
		}
		t.Skipf("%s: install it to run this test", err)
	}
	return path
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Start starts the server, anew after Kill, and waits until it answers.
func (s *RedisServer) Start() {
	s.t.Helper()
	cmd := exec.Command(RedisBinary(s.t), append([]string{"--dir", s.dir}, s.args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.process = cmd
	s.mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s.answers() {
			return
		}
		if time.Now().After(deadline) {
			s.Kill()
			s.t.Fatalf("redis-server does not answer: %s", out.String())
		}
	}
}

func (s *RedisServer) answers() bool {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 5)
	_, err = c.Read(answer)
	return err == nil && string(answer) == "+PONG"
}

// Kill ends the server as a power cut of its process would.
func (s *RedisServer) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.process.Process.Kill()
	s.process.Wait()
	s.process = nil
}

// Signal stops the server for a while (SIGSTOP) or has it go on (SIGCONT).
func (s *RedisServer) Signal(signal syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.Process.Signal(signal)
	}
}

// Usage returns the processor time that the server has used.
func (s *RedisServer) Usage() (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(s.process.Process.Pid), "stat"))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	var user, system int64
	fmt.Sscan(string(fields[11]), &user)
	fmt.Sscan(string(fields[12]), &system)
	return time.Duration(user+system) * (time.Second / 100), nil // USER_HZ is 100
}
