package key

// Master shows the seed behind a phrase, to compare it with BIP-39's vectors.
func (p Phrase) Master() [64]byte { return p.master() }
