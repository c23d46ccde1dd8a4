package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/confab-chat/confab/agent/keyring"
	"github.com/confab-chat/confab/internal/command"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// tries is how often a person may mistype before the command ends.
const tries = 3

// minPassphrase is the fewest characters of a new passphrase. Each guess costs a
// thief a fifth of a second and 64 MiB, which makes eight random letters last
// and nothing shorter.
const minPassphrase = 8

// passphrase returns the passphrase of what exists: from the flag's file, or
// from the terminal. The caller wipes it.
func (c *call) passphrase(flag, prompt string) ([]byte, error) {
	if path := c.Setting(flag); path != "" {
		return readPassphrase(path)
	}
	if c.person == nil {
		return nil, c.noTerminal(flag)
	}
	text, err := c.person.askHidden(c.Ctx(), prompt+": ")
	return []byte(text), err
}

// newPassphrase returns a passphrase for what is to be written: from the flag's
// file, or typed twice on the terminal. The caller wipes it.
func (c *call) newPassphrase(flag, prompt string) ([]byte, error) {
	if path := c.Setting(flag); path != "" {
		p, err := readPassphrase(path)
		if err == nil {
			err = goodPassphrase(p)
		}
		return p, err
	}
	if c.person == nil {
		return nil, c.noTerminal(flag)
	}
	c.Say("choose a passphrase of at least %d characters; a few random words are easy to keep", minPassphrase)
	for range tries {
		first, err := c.person.askHidden(c.Ctx(), prompt+": ")
		if err != nil {
			return nil, err
		}
		if err := goodPassphrase([]byte(first)); err != nil {
			fmt.Fprintln(c.Stderr, err)
			continue
		}
		again, err := c.person.askHidden(c.Ctx(), "the same again: ")
		if err != nil {
			return nil, err
		}
		if first == again {
			return []byte(first), nil
		}
		fmt.Fprintln(c.Stderr, "the two are not the same")
	}
	return nil, wire.Errorf(wire.Invalid, "no passphrase was chosen: nothing was changed")
}

func goodPassphrase(p []byte) error {
	switch n := utf8.RuneCount(p); {
	case n < minPassphrase:
		return wire.Errorf(wire.Invalid, "the passphrase has %d characters, at least %d are needed; a few random words are easy to keep", n, minPassphrase)
	case len(p) > keyring.MaxPassphrase:
		return wire.Errorf(wire.Invalid, "the passphrase has more than %d bytes", keyring.MaxPassphrase)
	}
	return nil
}

func (c *call) noTerminal(flag string) error {
	return c.Usagef("there is no terminal to ask for the passphrase on: use --%s FILE", flag)
}

// readPassphrase reads a file's one line.
func readPassphrase(path string) ([]byte, error) {
	b, err := readFile(path, keyring.MaxPassphrase+2)
	if err != nil {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	switch {
	case len(line) == 0:
		return nil, wire.Errorf(wire.Invalid, "%s is empty: it should hold the passphrase, on one line", path)
	case bytes.ContainsAny(line, "\r\n"):
		clear(b)
		return nil, wire.Errorf(wire.Invalid, "%s has more than one line: it should hold the passphrase and nothing else", path)
	}
	return line, nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, wire.Errorf(wire.NotFound, "%s is not there", path)
	}
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, wire.Errorf(wire.Invalid, "%w", err)
	}
	if len(b) > limit {
		return nil, wire.Errorf(wire.Invalid, "%s is too large: at most %d bytes were expected", path, limit)
	}
	return b, nil
}

// phrase returns a recovery phrase that the person has: from stdin with
// --phrase-stdin, or from the terminal.
func (c *call) phrase() (key.Phrase, error) {
	if c.Bool("phrase-stdin") {
		// One byte more than key.ParsePhrase takes, so that it refuses what is
		// too long instead of a part being read.
		b, err := io.ReadAll(io.LimitReader(c.Stdin, 1025))
		defer clear(b)
		if err != nil {
			return key.Phrase{}, fmt.Errorf("read the phrase from stdin: %w", err)
		}
		return parsePhrase(string(b))
	}
	if c.person == nil {
		return key.Phrase{}, c.Usagef("there is no terminal to ask for the phrase on: use --phrase-stdin")
	}
	var last error
	for range tries {
		text, err := c.person.askHidden(c.Ctx(), "recovery phrase, 12 words, not shown: ")
		if err != nil {
			return key.Phrase{}, err
		}
		p, err := parsePhrase(text)
		if err == nil {
			return p, nil
		}
		last = err
		fmt.Fprintln(c.Stderr, err)
	}
	return key.Phrase{}, last
}

func parsePhrase(text string) (key.Phrase, error) {
	p, err := key.ParsePhrase(text)
	if err != nil {
		return p, wire.Errorf(wire.Invalid, "%w", err)
	}
	return p, nil
}

// Sequences that switch to a terminal's second screen, which leaves nothing in
// its history, and empty it, and go back.
const (
	secondScreen = "\x1b[?1049h\x1b[2J\x1b[H"
	emptyScreen  = "\x1b[2J\x1b[H"
	firstScreen  = "\x1b[?1049l"
)

// confirmPhrase shows a new phrase and makes sure that the person wrote it down,
// by asking for two of its words with the phrase out of sight.
func (c *call) confirmPhrase(p key.Phrase) error {
	enter, hide, leave := secondScreen, emptyScreen, firstScreen
	if c.Getenv("TERM") == "dumb" {
		enter, hide, leave = "", strings.Repeat("\n", 60), strings.Repeat("\n", 60)
	}
	fmt.Fprint(c.Stderr, enter)
	defer fmt.Fprint(c.Stderr, leave)
	words := strings.Fields(p.Reveal())
	for range tries {
		c.showPhrase(words)
		if _, err := c.person.ask(c.Ctx(), "press enter when they are on paper "); err != nil {
			return err
		}
		fmt.Fprint(c.Stderr, hide)
		right, err := c.askWords(words)
		if right || err != nil {
			return err
		}
		fmt.Fprint(c.Stderr, hide, "that was not right; here they are again\n\n")
	}
	return wire.Errorf(wire.Invalid, "the phrase was not confirmed: no account was made, and these words are worth nothing")
}

// showPhrase shows the words on a page that fits a screen of 40 columns and 24
// lines, such as a phone's: a word that breaks at the edge is copied wrongly.
func (c *call) showPhrase(words []string) {
	fmt.Fprint(c.Stderr, "your recovery phrase\n\n")
	for i, w := range words {
		fmt.Fprintf(c.Stderr, "%4d  %s", i+1, c.Paint(c.StderrTerminal, command.Bold, fmt.Sprintf("%-10s", w)))
		if i%2 == 1 {
			fmt.Fprintln(c.Stderr)
		}
	}
	fmt.Fprint(c.Stderr, `
write these words on paper, in this
order, and keep it where only you can
get it. they are shown once and stored
nowhere. whoever has them has the
account; if you lose them, nobody can
give them back.

`)
}

// askWords asks for two words of the phrase.
func (c *call) askWords(words []string) (right bool, err error) {
	first, err := c.below(len(words))
	if err != nil {
		return false, err
	}
	second, err := c.below(len(words) - 1)
	if err != nil {
		return false, err
	}
	if second >= first {
		second++ // another than the first
	}
	right = true
	for _, i := range []int{first, second} {
		typed, err := c.person.ask(c.Ctx(), fmt.Sprintf("word %d: ", i+1))
		if err != nil {
			return false, err
		}
		right = right && strings.EqualFold(strings.TrimSpace(typed), words[i])
	}
	return right, nil
}

// below returns a random number from 0 to n-1, n at most 256, each as likely.
func (c *call) below(n int) (int, error) {
	var b [1]byte
	for {
		if _, err := io.ReadFull(c.rand, b[:]); err != nil {
			return 0, fmt.Errorf("choose a word: read randomness: %w", err)
		}
		if int(b[0]) < 256-256%n {
			return int(b[0]) % n, nil
		}
	}
}
