package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"unicode/utf8"

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
	var person *command.Terminal
	if path != "" {
		p, err = readLine(path)
	} else if person = c.Person(); person == nil {
		return nil, c.Usagef("there is no terminal to ask for the passphrase on: use --passphrase-file FILE")
	} else {
		p, err = hidden(c, person, fmt.Sprintf("passphrase of %s: ", name))
	}
	if err != nil || !fresh {
		return p, err
	}
	if n := utf8.RuneCount(p); n < minPassphrase || len(p) > keyring.MaxPassphrase {
		return nil, wire.Errorf(wire.Invalid, "the passphrase has %d characters: from %d to %d are needed; a few random words are easy to keep", n, minPassphrase, keyring.MaxPassphrase)
	}
	if path == "" {
		again, err := hidden(c, person, "the same again: ")
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

// hidden asks whoever is at the terminal. What is typed is not shown.
func hidden(c *command.Call, person *command.Terminal, prompt string) ([]byte, error) {
	text, err := person.AskHidden(c.Ctx(), prompt)
	return []byte(text), err
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
	person := c.Person()
	fmt.Fprint(c.Stderr, secondScreen)
	defer fmt.Fprint(c.Stderr, firstScreen)
	words := strings.Fields(p.Reveal())
	fmt.Fprint(c.Stderr, "the recovery phrase of the service's account\n\n")
	for i, w := range words {
		fmt.Fprintf(c.Stderr, "%4d  %s\n", i+1, w)
	}
	fmt.Fprint(c.Stderr, "\nwrite these words on paper, in this order. they are shown once and stored\nnowhere. whoever has them has the service\n\n")
	if _, err := person.Ask(c.Ctx(), "press enter when they are on paper "); err != nil {
		return err
	}
	fmt.Fprint(c.Stderr, emptyScreen)
	for _, i := range twoOf(len(words)) {
		typed, err := person.Ask(c.Ctx(), fmt.Sprintf("word %d: ", i+1))
		if err != nil {
			return err
		}
		if !strings.EqualFold(strings.TrimSpace(typed), words[i]) {
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
