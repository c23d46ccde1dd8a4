package host

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// nextKeyFile is a server key that is to replace the one in use, once the
// service's entry has it.
const nextKeyFile = "server.key.next"

// NextKey returns the public half of the key that is to be the folder's next
// one, making it if make is set and there is none. A zero key: there is none.
func NextKey(home string, make bool) (key.Public, error) {
	path := filepath.Join(home, nextKeyFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if !make {
			return key.Public{}, nil
		}
		k, err := key.NewServer(rand.Reader)
		if err != nil {
			return key.Public{}, fmt.Errorf("make server key: %w", err)
		}
		seed := k.Seed()
		if err := writeNew(path, []byte(hex.EncodeToString(seed[:])+"\n")); err != nil {
			return key.Public{}, fmt.Errorf("keep the next server key: %w", err)
		}
	}
	k, err := readKey(path)
	return k.Public(), err
}

// formerKeyFile is the server key that was in use before: with it orders to forward
// are taken over. It proves nothing any more.
const formerKeyFile = "server.key.before"

// TakeNextKey puts the next key in the place of the one in use, which is kept as the
// former one. Call it when the service's entry has the next one.
func TakeNextKey(home string) error {
	b, err := os.ReadFile(filepath.Join(home, keyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take the next server key: %w", err)
	}
	if err == nil {
		if err := replaceFile(filepath.Join(home, formerKeyFile), b); err != nil {
			return fmt.Errorf("keep the former server key: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(home, nextKeyFile), filepath.Join(home, keyFile)); err != nil {
		return fmt.Errorf("take the next server key: %w", err)
	}
	return nil
}

// replaceFile writes a file for its owner's eyes only, whole or not at all.
func replaceFile(path string, b []byte) error {
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(next, b); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// formerKeys returns the server key that was in use before, if there is one.
func formerKeys(home string) ([]key.Server, error) {
	k, err := readKey(filepath.Join(home, formerKeyFile))
	if wire.CodeOf(err) == wire.NotFound {
		return nil, nil
	}
	return []key.Server{k}, err
}

// SetURLs changes the urls in the configuration file of a folder, and nothing
// else in it.
func SetURLs(home string, urls []string) error {
	c, err := LoadConfig(home)
	if err != nil {
		return err
	}
	c.URLs = urls
	if err := c.Check(); err != nil {
		return err
	}
	path := filepath.Join(home, ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("change the URLs: %w", err)
	}
	// The key stands before the first table, where Check has parsed it.
	line := regexp.MustCompile(`(?m)^urls[ \t]*=[ \t]*\[[^\]]*\][^\n]*$`)
	want := []byte("urls = [" + quoted(urls) + "]")
	if at := line.FindIndex(b); at != nil {
		b = append(append(append([]byte{}, b[:at[0]]...), want...), b[at[1]:]...)
	} else {
		b = append(append(want, '\n'), b...)
	}
	if err := replaceFile(path, b); err != nil {
		return fmt.Errorf("change the URLs: %w", err)
	}
	if c, err = LoadConfig(home); err != nil || fmt.Sprint(c.URLs) != fmt.Sprint(urls) {
		return wire.Errorf(wire.Invalid, "%s has urls in a place that is not understood: write them as one line near the top", path)
	}
	return nil
}
