package commandtest

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A PTY is a terminal with a person before it, who is the test.
type PTY struct {
	t       *testing.T
	screen  *os.File // and keyboard
	Program *os.File // what a program sees

	mu   sync.Mutex
	more *sync.Cond
	seen bytes.Buffer
	read int // what the person has read already
}

// OpenPTY returns a new terminal. It skips a test where there are none.
func OpenPTY(t *testing.T) *PTY {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	p := &PTY{t: t, screen: screen, Program: program}
	p.more = sync.NewCond(&p.mu)
	go p.watch()
	return p
}

// watch remembers all that the screen shows.
func (p *PTY) watch() {
	b := make([]byte, 4096)
	for {
		n, err := p.screen.Read(b)
		p.mu.Lock()
		p.seen.Write(b[:n])
		p.more.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Until waits until the screen shows a text after what was read before, and returns
// all it showed; what stands up to the text is read then.
func (p *PTY) Until(text string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if at := strings.Index(p.seen.String()[p.read:], text); at >= 0 {
			p.read += at + len(text)
			return p.seen.String()
		}
		p.more.Wait()
	}
}

// Type types a text, with "\r" for enter.
func (p *PTY) Type(text string) {
	if _, err := p.screen.WriteString(text); err != nil {
		p.t.Error(err)
	}
}

// Modes returns the terminal's local modes, such as whether it echoes.
func (p *PTY) Modes() uint32 {
	s, err := unix.IoctlGetTermios(int(p.Program.Fd()), unix.TCGETS)
	if err != nil {
		p.t.Fatal(err)
	}
	return s.Lflag
}
