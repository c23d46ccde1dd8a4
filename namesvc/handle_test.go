package namesvc_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/namesvc"
)

// lines returns the lines of a vector file that are not comments.
func lines(t testing.TB, name string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(vectorsDir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

func TestParseHandle_AcceptsTheValidList(t *testing.T) {
	for _, line := range lines(t, "handles_valid.txt") {
		typed, want, _ := strings.Cut(line, " ")
		got, err := namesvc.ParseHandle(typed)
		if err != nil || string(got) != want {
			t.Errorf("%q is %q (%v), want %q", typed, string(got), err, want)
		}
		if got.String() != "@"+want {
			t.Errorf("%q prints as %v", typed, got)
		}
		if again, err := namesvc.ParseHandle(got.String()); err != nil || again != got {
			t.Errorf("%v does not read back: %v", got, err)
		}
	}
}

func TestParseHandle_RefusesTheInvalidList(t *testing.T) {
	texts := []string{"alice\xff", "\xffalice", strings.Repeat("a", 1<<16)}
	for _, line := range lines(t, "handles_invalid.txt") {
		var text string
		if err := json.Unmarshal([]byte(line), &text); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		h, err := namesvc.ParseHandle(text)
		var fault *namesvc.HandleError
		if h != "" || !errors.As(err, &fault) || fault.Reason == "" || len(fault.Text) > 40 {
			t.Errorf("%.50q is %q, error %v", text, string(h), err)
		}
	}
}

func TestHandle_SkeletonsAreThoseOfTheList(t *testing.T) {
	for _, line := range lines(t, "skeletons.txt") {
		text, want, _ := strings.Cut(line, " ")
		h, err := namesvc.ParseHandle(text)
		if err != nil || string(h.Skeleton()) != want {
			t.Errorf("the skeleton of %s is %s (%v), want %s", text, h.Skeleton(), err, want)
		}
	}
}

// stepwise is the skeleton as the specification says it, one step after the
// other.
func stepwise(h string) string {
	h = strings.ReplaceAll(h, "_", "")
	h = strings.NewReplacer("1", "l", "i", "l", "0", "o", "5", "s").Replace(h)
	return strings.NewReplacer("m", "rn", "w", "vv").Replace(h)
}

// TestHandle_ConfusableIsAnEquivalence goes through all short handles of the
// letters that fold, and compares skeletons with the three steps done in turn.
// That they expand and never contract makes equality of skeletons independent
// of the direction of reading.
func TestHandle_ConfusableIsAnEquivalence(t *testing.T) {
	classes := map[namesvc.Skeleton]namesvc.Handle{}
	var count int
	each("rnmvw1il0o5s_", 4, func(text string) {
		h, err := namesvc.ParseHandle("r" + text)
		if err != nil {
			return
		}
		count++
		s := h.Skeleton()
		if string(s) != stepwise(string(h)) {
			t.Fatalf("the skeleton of %v is %s, step by step it is %s", h, s, stepwise(string(h)))
		}
		if first, ok := classes[s]; !ok {
			classes[s] = h
		} else if !h.Confusable(first) || !first.Confusable(h) || h.Confusable(h) {
			t.Fatalf("%v and %v", h, first)
		}
	})
	if count < 10000 || len(classes) > count/4 {
		t.Errorf("%d handles in %d classes", count, len(classes))
	}
}

// each calls f with all texts of 2 to n of the letters.
func each(letters string, n int, f func(string)) {
	var grow func(prefix string)
	grow = func(prefix string) {
		if len(prefix) >= 2 {
			f(prefix)
		}
		if len(prefix) == n {
			return
		}
		for i := range len(letters) {
			grow(prefix + letters[i:i+1])
		}
	}
	grow("")
}

func FuzzParseHandle(f *testing.F) {
	for _, line := range lines(f, "handles_valid.txt") {
		f.Add(line)
	}
	for _, line := range lines(f, "handles_invalid.txt") {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := namesvc.ParseHandle(text)
		if err != nil {
			return
		}
		again, err := namesvc.ParseHandle(h.String())
		if err != nil || again != h {
			t.Errorf("%v does not read back", h)
		}
		if len(h) < namesvc.MinHandle || len(h) > namesvc.MaxHandle || len(h.Skeleton()) > 2*namesvc.MaxHandle {
			t.Errorf("%v has %d characters", h, len(h))
		}
		if string(h.Skeleton()) != stepwise(string(h)) {
			t.Errorf("the skeleton of %v is %s", h, h.Skeleton())
		}
		if strings.Trim(string(h), "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("%q is a handle", string(h))
		}
	})
}
