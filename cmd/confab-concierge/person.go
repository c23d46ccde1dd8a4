package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// minPassphrase is the fewest characters of a new passphrase, as for confab.
const minPassphrase = 8

// passphrase returns that of an account: from a file, or from the terminal, where
// a new one is typed twice. The caller wipes it.
func passphrase(c *command.Call, name string, fresh bool) ([]byte, error) {
	path := c.String("passphrase-file")
	if path == "" {
		path = c.Getenv("CONFAB_PASSPHRASE_FILE")
	}
	var p []byte
	var err error
	if path != "" {
		p, err = readLine(path)
	} else {
		p, err = hidden(c, fmt.Sprintf("passphrase of %s: ", name))
	}
	if err != nil || !fresh {
		return p, err
	}
	if n := utf8.RuneCount(p); n < minPassphrase || len(p) > keyring.MaxPassphrase {
		return nil, wire.Errorf(wire.Invalid, "the passphrase has %d characters: from %d to %d are needed; a few random words are easy to keep", n, minPassphrase, keyring.MaxPassphrase)
	}
	if path == "" {
		again, err := hidden(c, "the same again: ")
		defer clear(again)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(p, again) {
			return nil, wire.Errorf(wire.Invalid, "the two are not the same: nothing was made")
		}
	}
	return p, nil
}

// readLine reads a file's one line.
func readLine(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, wire.Errorf(wire.NotFound, "read the passphrase: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, keyring.MaxPassphrase+3))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "read the passphrase: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(line) == 0 || len(line) > keyring.MaxPassphrase || bytes.ContainsAny(line, "\r\n") {
		clear(b)
		return nil, wire.Errorf(wire.Invalid, "%s should hold the passphrase on one line and nothing else", path)
	}
	return line, nil
}

// terminal returns the terminal that somebody types at.
func terminal(c *command.Call) (*os.File, bool) {
	in, ok := c.Stdin.(*os.File)
	return in, ok && c.StderrTerminal && term.IsTerminal(int(in.Fd()))
}

// hidden asks whoever is at the terminal. What is typed is not shown.
func hidden(c *command.Call, prompt string) ([]byte, error) {
	in, ok := terminal(c)
	if !ok {
		return nil, c.Usagef("there is no terminal to ask for the passphrase on: use --passphrase-file FILE")
	}
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, fmt.Errorf("ask at the terminal: %w", err)
	}
	fmt.Fprint(c.Stderr, prompt)
	return answered(c, func() ([]byte, error) { return term.ReadPassword(fd) }, func() { term.Restore(fd, before) })
}

// answered waits for what is typed, or until the person stops the command; then
// the terminal is put right.
func answered(c *command.Call, read func() ([]byte, error), restore func()) ([]byte, error) {
	type answer struct {
		text []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		text, err := read()
		typed <- answer{text, err}
	}()
	defer fmt.Fprintln(c.Stderr)
	select {
	case a := <-typed:
		if errors.Is(a.err, io.EOF) {
			return nil, command.ErrStopped
		}
		return a.text, a.err
	case <-c.Ctx().Done():
		restore()
		return nil, command.ErrStopped
	}
}

// Sequences that switch to a terminal's second screen, which leaves nothing in
// its history, and empty it, and go back.
const (
	secondScreen = "\x1b[?1049h\x1b[2J\x1b[H"
	emptyScreen  = "\x1b[2J\x1b[H"
	firstScreen  = "\x1b[?1049l"
)

// confirmPhrase shows a new phrase and makes sure that the person has it, by
// asking for two of its words with the phrase out of sight.
func confirmPhrase(c *command.Call, p key.Phrase) error {
	in, _ := terminal(c)
	lines := bufio.NewReader(in)
	line := func() (string, error) {
		text, err := answered(c, func() ([]byte, error) { return lines.ReadBytes('\n') }, func() {})
		return strings.TrimSpace(string(text)), err
	}
	fmt.Fprint(c.Stderr, secondScreen)
	defer fmt.Fprint(c.Stderr, firstScreen)
	words := strings.Fields(p.Reveal())
	fmt.Fprint(c.Stderr, "the recovery phrase of the service's account\n\n")
	for i, w := range words {
		fmt.Fprintf(c.Stderr, "%4d  %s\n", i+1, w)
	}
	fmt.Fprint(c.Stderr, "\nwrite these words on paper, in this order. they are shown once and stored\nnowhere. whoever has them has the service; press enter when they are on paper ")
	if _, err := line(); err != nil {
		return err
	}
	fmt.Fprint(c.Stderr, emptyScreen)
	for _, i := range twoOf(len(words)) {
		fmt.Fprintf(c.Stderr, "word %d: ", i+1)
		typed, err := line()
		if err != nil {
			return err
		}
		if !strings.EqualFold(typed, words[i]) {
			return wire.Errorf(wire.Invalid, "that is not word %d: no account was made, and these words are worth nothing", i+1)
		}
	}
	return nil
}

// twoOf returns two different numbers below n, by chance.
func twoOf(n int) [2]int {
	below := func(n int) int {
		v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
		if err != nil {
			return 0 // which word is asked for is no secret
		}
		return int(v.Int64())
	}
	first, second := below(n), below(n-1)
	if second >= first {
		second++
	}
	return [2]int{first, second}
}
