package ratchet_test

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/confab-chat/confab/agent/ratchet"
	"github.com/confab-chat/confab/agent/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/talk/message"
)

// A receiver in miniature, on a real database and a real folder. Each message has
// a key that decrypts it once and is deleted by that; each answer takes the next
// number of a counter, and a number used for two answers would be a key used
// twice.
type receiver struct {
	s *store.Store
	r *ratchet.Ratchet
}

const mails = 24

var (
	shelfName = []byte("conversation")
	counter   = []byte("counter")
)

func self() namesvc.AccountID { return namesvc.AccountID{0xa1} }

func conversation() message.ConversationID { return message.ConversationID{7} }

func keyOf(n uint64) []byte { return fmt.Appendf(nil, "key %d", n) }

// mailNumber n is an event of another account, and always the same.
func mailNumber(n uint64) message.Event {
	p := message.Place{Seq: 1, Clock: 1}
	if n > 1 {
		p = message.Place{Seq: n, Clock: n, Prev: mailNumber(n - 1).ID()}
	}
	e, err := message.New(conversation(), message.Author{Account: namesvc.AccountID{0xb0}}, p, time.UnixMilli(1), message.Text{Text: fmt.Sprint("mail ", n)})
	if err != nil {
		panic(err)
	}
	return e
}

func startReceiver(dir string) (*receiver, error) {
	s, err := store.Open(filepath.Join(dir, "db"), [store.KeySize]byte{1}, self())
	if err != nil {
		return nil, err
	}
	r, err := ratchet.Open(filepath.Join(dir, "secrets"), [ratchet.KeySize]byte{2}, s, rand.Reader)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &receiver{s, r}, nil
}

// join makes the keys, once.
func (v *receiver) join() error {
	if v.r.Generation() > 0 {
		return nil
	}
	changes := []ratchet.Change{{Shelf: shelfName, Key: counter, Value: []byte("0")}}
	for n := range uint64(mails) {
		changes = append(changes, ratchet.Change{Shelf: shelfName, Key: keyOf(n + 1), Value: fmt.Appendf(nil, "secret of mail %d", n+1)})
	}
	return v.r.Write(changes, func(g uint64) error {
		return v.s.Update(func(tx *store.Tx) error {
			return errors.Join(tx.AddConversation(store.Conversation{ID: conversation()}), tx.SetGeneration(g))
		})
	})
}

// cursor returns how many mails were processed.
func (v *receiver) cursor() (at uint64, err error) {
	err = v.s.View(func(tx *store.Tx) error { at, err = tx.Cursor("inbox"); return err })
	return at, err
}

// process takes one mail: it is decrypted, stored, answered and acknowledged.
func (v *receiver) process(n uint64, e message.Event) error {
	if _, err := v.r.Get(shelfName, keyOf(n)); err != nil {
		return fmt.Errorf("mail %d cannot be decrypted: %w", n, err)
	}
	b, err := v.r.Get(shelfName, counter)
	if err != nil {
		return err
	}
	var number uint64
	fmt.Sscan(string(b), &number)
	number++
	return v.r.Write([]ratchet.Change{
		{Shelf: shelfName, Key: keyOf(n)},
		{Shelf: shelfName, Key: counter, Value: fmt.Append(nil, number)},
	}, func(g uint64) error {
		return v.s.Update(func(tx *store.Tx) error {
			fresh, err := tx.Receive("inbox", n, stream.MessageID{byte(n)}, n)
			if err == nil && !fresh {
				err = fmt.Errorf("mail %d was processed before", n)
			}
			if err == nil {
				_, err = tx.AddEvent(e)
			}
			answer := store.Item{ID: stream.MessageID{0xaa, byte(number)}, Destination: "bob", Body: fmt.Appendf(nil, "%d answers %d", number, n)}
			return errors.Join(err, tx.Enqueue(answer), tx.SetGeneration(g))
		})
	})
}

// TestWrite_WithTheDatabaseSurvivesKills runs the receiver as a process of its own
// and kills it again and again, at whatever it is doing.
func TestWrite_WithTheDatabaseSurvivesKills(t *testing.T) {
	if dir := os.Getenv("RATCHET_TEST_DIR"); dir != "" {
		if err := receiveAll(dir); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	rng := mathrand.New(mathrand.NewPCG(uint64(time.Now().UnixNano()), 1)) // any will do: the checks hold for all
	kills, last := 0, uint64(0)
	for finished := false; !finished; {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestWrite_WithTheDatabaseSurvivesKills$", "-test.v")
		cmd.Env = append(os.Environ(), "RATCHET_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, kill := bufio.NewScanner(out), 1+rng.IntN(8)
		var text string
		for n := 0; lines.Scan(); n++ {
			text += lines.Text() + "\n"
			if n == kill {
				cmd.Process.Kill()
			}
		}
		finished = cmd.Wait() == nil
		if !finished && !cmd.ProcessState.Exited() {
			kills++
		} else if !finished {
			t.Fatalf("the receiver failed:\n%s", text)
		}
		last = inspect(t, dir, last)
	}
	if kills < 2 || last != mails {
		t.Errorf("%d kills, %d of %d mails", kills, last, mails)
	}
}

// receiveAll processes all mails that are left, and prints a line for each.
func receiveAll(dir string) error {
	v, err := startReceiver(dir)
	if err != nil {
		return err
	}
	if err := v.join(); err != nil {
		return err
	}
	at, err := v.cursor()
	if err != nil {
		return err
	}
	for n := at + 1; n <= mails; n++ {
		fmt.Println("next")
		if err := v.process(n, mailNumber(n)); err != nil {
			return err
		}
	}
	return v.s.Close()
}

// inspect checks everything after a kill: each mail before the cursor is there, its
// key is gone and its answer has a number of its own; of those behind it nothing
// happened. It returns the cursor.
func inspect(t *testing.T, dir string, last uint64) uint64 {
	t.Helper()
	v, err := startReceiver(dir)
	if err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	defer v.s.Close()
	at, err := v.cursor()
	if err != nil || at < last {
		t.Fatalf("the cursor went from %d to %d (%v)", last, at, err)
	}
	if v.r.Generation() == 0 {
		return at
	}
	for n := uint64(1); n <= mails; n++ {
		_, err := v.r.Get(shelfName, keyOf(n))
		if gone := wire.CodeOf(err) == wire.NotFound; gone != (n <= at) {
			t.Fatalf("at %d: the key of mail %d is gone: %t (%v)", at, n, gone, err)
		}
	}
	err = v.s.View(func(tx *store.Tx) error {
		list, err := tx.After(conversation(), "", mails+1)
		if err != nil || len(list) != int(at) {
			t.Fatalf("at %d there are %d messages (%v)", at, len(list), err)
		}
		for i, m := range list {
			if m.Text != fmt.Sprint("mail ", i+1) {
				t.Fatalf("message %d is %q", i+1, m.Text)
			}
		}
		answers, err := tx.Ready(0, 1, mails+1)
		for i, a := range answers {
			if want := fmt.Sprintf("%d answers %d", i+1, i+1); string(a.Body) != want {
				t.Fatalf("an answer is %q, want %q", a.Body, want)
			}
		}
		if len(answers) != int(at) {
			t.Fatalf("at %d there are %d answers", at, len(answers))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestOpen_TellsADatabaseFromABackup: what a person sees who put an old copy of the
// database back, and what is left to do.
func TestOpen_TellsADatabaseFromABackup(t *testing.T) {
	dir := t.TempDir()
	v, err := startReceiver(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.join(); err != nil {
		t.Fatal(err)
	}
	copyPath := filepath.Join(dir, "copy")
	if err := v.s.Backup(t.Context(), copyPath); err != nil {
		t.Fatal(err)
	}
	if err := v.process(1, mailNumber(1)); err != nil {
		t.Fatal(err)
	}
	if err := v.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copyPath, filepath.Join(dir, "db")); err != nil {
		t.Fatal(err)
	}
	_, err = startReceiver(dir)
	var order *ratchet.OrderError
	if !errors.As(err, &order) || !order.Ahead() {
		t.Fatalf("got %v", err)
	}
	// The secrets are good: the database is told so, and goes on.
	s, err := store.Open(filepath.Join(dir, "db"), [store.KeySize]byte{1}, self())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(tx *store.Tx) error { return tx.SetGeneration(order.Secrets) }); err != nil {
		t.Fatal(err)
	}
	r, err := ratchet.Open(filepath.Join(dir, "secrets"), [ratchet.KeySize]byte{2}, s, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r.Get(shelfName, counter); err != nil || string(b) != "1" {
		t.Errorf("the counter is %q (%v)", b, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkReceive is one mail from ciphertext to acknowledgement: secrets and
// database, both durable.
func BenchmarkReceive(b *testing.B) {
	v, err := startReceiver(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer v.s.Close()
	err = v.s.Update(func(tx *store.Tx) error { return tx.AddConversation(store.Conversation{ID: conversation()}) })
	if err != nil {
		b.Fatal(err)
	}
	state := make([]byte, 10<<10)
	a := message.Author{Account: namesvc.AccountID{0xb0}}
	chain := new(message.Chain)
	for n := uint64(1); b.Loop(); n++ {
		p, err := chain.Next(0)
		if err != nil {
			b.Fatal(err)
		}
		e, err := message.New(conversation(), a, p, time.UnixMilli(1), message.Text{Text: "a message of some words"})
		if err != nil {
			b.Fatal(err)
		}
		chain.Accept(e.Link())
		err = v.r.Write([]ratchet.Change{{Shelf: shelfName, Key: counter, Value: state}}, func(g uint64) error {
			return v.s.Update(func(tx *store.Tx) error {
				_, err := tx.Receive("inbox", n, stream.MessageID{byte(n), byte(n >> 8), byte(n >> 16)}, n)
				_, err2 := tx.AddEvent(e)
				return errors.Join(err, err2, tx.SetGeneration(g))
			})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
