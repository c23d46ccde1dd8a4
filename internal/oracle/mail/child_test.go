package mail

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The cores of the server and of the load. On a machine with one core, both.
const (
	serverCore = 0
	loadCore   = 1
)

// child is a server's process.
type child struct {
	cmd  *exec.Cmd
	in   io.Closer
	says string // its first line
}

// startChild starts this program again, as one of the servers in childServers,
// and waits until it says where it is.
func startChild(t *testing.T, name string, env ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(append(os.Environ(), "CONFAB_MAIL_CHILD="+name, "CONFAB_MAIL_DIR="+t.TempDir()), env...)
	return startOnCore(t, cmd)
}

func startOnCore(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	pin(t, 0, serverCore) // children are where their parent's thread is
	err = cmd.Start()
	pin(t, 0, loadCore)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, in: in}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "AT "); ok {
			c.says = text
			break
		}
	}
	go io.Copy(io.Discard, out)
	if c.says == "" {
		c.stop()
		t.Fatal("the server says nothing")
	}
	return c
}

func (c *child) processes() []int { return []int{c.cmd.Process.Pid} }

func (c *child) stop() {
	c.in.Close() // on which it ends
	c.cmd.Wait()
}

// childServers are what TestChild can be: each says where it is on a line that
// begins with AT, and serves until its standard input ends.
var childServers = map[string]func(t *testing.T, dir string){
	"confab": serveConfab,
	"nats":   serveNATS,
	"khatru": serveKhatru,
}

// TestChild is a server's process: not a test, unless it is told to be.
func TestChild(t *testing.T) {
	serve := childServers[os.Getenv("CONFAB_MAIL_CHILD")]
	if serve == nil {
		t.Skip("only for the test that starts it")
	}
	serve(t, os.Getenv("CONFAB_MAIL_DIR"))
	os.Exit(0)
}

// untilEnd says where a server is and returns when it is no longer needed.
func untilEnd(at string) {
	fmt.Println("AT " + at)
	io.Copy(io.Discard, os.Stdin)
}

// pin keeps a thread on a core, 0 being the caller's own; with 1 core there is
// nothing to choose.
func pin(t *testing.T, thread, core int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(thread, &set); err != nil {
		t.Logf("core %d: %v; the servers share a core with the load", core, err)
	}
}

// pinLoad keeps all threads of this process on the core for the load.
func pinLoad(t *testing.T) {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		n, _ := strconv.Atoi(thread.Name())
		pin(t, n, loadCore)
	}
}
