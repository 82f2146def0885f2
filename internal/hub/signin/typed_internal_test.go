package signin

import "testing"

func TestTypedCodes(t *testing.T) {
	for typed, want := range map[string]string{
		"123456": "123456", "123 456": "123456", " 123456\n": "123456", "123\u00a0456": "123456", "123\u202f456": "123456", "\ufeff123456": "123456",
		"123\u200b456": "123456", "123-456": "123456", "\uff11\uff12\uff13\uff14\uff15\uff16": "123456", "12345": "12345", "": "", "12a456": "12a456",
	} {
		if got := plainCode(typed); got != want {
			t.Errorf("%q is taken as %q, want %q", typed, got, want)
		}
	}
	for _, typed := range []string{"abcde-fghij-k2345", "ABCDE-FGHIJ-K2345", "abcdefghijk2345", "abcde fghij k2345", " abcde\u2013fghij\u2013k2345 ", "abcde\u00a0fghij\u2011k2345", "abcde\u2212fghij\u2014k2345"} {
		if got := recoveryText(typed); got != "abcde-fghij-k2345" {
			t.Errorf("%q is taken as %q", typed, got)
		}
	}
}

func FuzzTypedCodes(f *testing.F) {
	f.Add("123 456")
	f.Add("abcde\u2013fghij\u2013k2345")
	f.Add("\xff\u00a0\u0130-")
	f.Add("0\x99\x99\x99\x9900")
	f.Fuzz(func(t *testing.T, typed string) {
		if once := plainCode(typed); plainCode(once) != once {
			t.Fatalf("%q: %q changes when it is tidied again", typed, once)
		}
		if once := recoveryText(typed); recoveryText(once) != once {
			t.Fatalf("%q: %q changes when it is tidied again", typed, once)
		}
	})
}
