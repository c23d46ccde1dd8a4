package key

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/cosmos/go-bip39"
)

// phraseEntropy is the entropy of a phrase in bytes: 128 bits, the security
// level of Ed25519 itself, and 12 words, which people do write down.
const phraseEntropy = 16

// PhraseWords is the number of words in a phrase.
const PhraseWords = 12

// Phrase is the recovery phrase of an account: 12 words of the English BIP-39
// list, checksum included. Whoever has it has the account. It is shown once and
// never stored.
type Phrase struct {
	words func() string // a function for the reason given at secret
}

func newPhrase(words string) Phrase { return Phrase{func() string { return words }} }

// ErrPhrase reports words that are no phrase. Errors never repeat the words.
var ErrPhrase = errors.New("not a valid phrase")

// NewPhrase returns a new phrase.
func NewPhrase(rand io.Reader) (Phrase, error) {
	entropy := make([]byte, phraseEntropy)
	if _, err := io.ReadFull(rand, entropy); err != nil {
		return Phrase{}, fmt.Errorf("new phrase: read randomness: %w", err)
	}
	words, err := bip39.NewMnemonic(entropy)
	if err != nil {
		return Phrase{}, fmt.Errorf("new phrase: %w", err)
	}
	return newPhrase(words), nil
}

// ParsePhrase reads a phrase as a person types it: letter case and the amount
// of white space do not matter.
func ParsePhrase(s string) (Phrase, error) {
	// A phrase has at most 12 words of 8 letters; the bound stops a paste
	// gone wrong before any work is done.
	if len(s) > 1024 {
		return Phrase{}, fmt.Errorf("%w: it is too long", ErrPhrase)
	}
	words := strings.Fields(strings.ToLower(s))
	if len(words) != PhraseWords {
		return Phrase{}, fmt.Errorf("%w: it has %d words, a phrase has %d", ErrPhrase, len(words), PhraseWords)
	}
	for i, w := range words {
		if _, ok := bip39.ReverseWordMap[w]; !ok {
			return Phrase{}, fmt.Errorf("%w: word %d is not on the list", ErrPhrase, i+1)
		}
	}
	joined := strings.Join(words, " ")
	if _, err := bip39.MnemonicToByteArray(joined); err != nil {
		return Phrase{}, fmt.Errorf("%w: its checksum is wrong; a word is mistaken or out of order", ErrPhrase)
	}
	return newPhrase(joined), nil
}

// Reveal returns the words, to be shown to their owner and nobody else.
func (p Phrase) Reveal() string {
	if p.words == nil {
		return ""
	}
	return p.words()
}

// master is BIP-39's seed with an empty passphrase.
func (p Phrase) master() [64]byte { return [64]byte(bip39.NewSeed(p.Reveal(), "")) }

const redactedPhrase = "(phrase)"

// String, GoString, Format and LogValue print a placeholder.
func (p Phrase) String() string             { return redactedPhrase }
func (p Phrase) GoString() string           { return redactedPhrase }
func (p Phrase) LogValue() slog.Value       { return slog.StringValue(redactedPhrase) }
func (p Phrase) Format(f fmt.State, _ rune) { io.WriteString(f, redactedPhrase) }
