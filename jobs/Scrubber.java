package endcap;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.apache.spark.sql.api.java.UDF4;
import org.apache.spark.sql.api.java.UDF5;
import org.apache.spark.sql.api.java.UDF7;

/** Finds what is personal in a text, and puts placeholders there: functions of Spark SQL.
 *
 * What counts as personal is in recognisers.txt beside this class, as jobs/recognisers.py declares it. One look at each
 * character says which kinds may begin there, and only their patterns are tried. What a turn has found is masked, so
 * that the later turns look around it. jobs/scrubbing.py has this file compiled by the compiler that Spark brings,
 * which knows no type arguments: hence the casts.
 */
public final class Scrubber {
    private static final int MASK = 0x0e;
    private static final int ASCII = 128;
    private static final int LETTER = 1, JOINED = 2; // JOINED: letters and digits of ASCII; nothing begins behind one
    private static final int KINDS = (1 << 24) - 1; // at most so many kinds a turn
    private static final long HOLD = 1L << 24;
    private static final long WORD = 1L << 48, BEHIND = 1L << 49;
    private static final String KEPT = "KEPT";

    private static final List<Turn> TURNS = new ArrayList<Turn>();
    /** By character and turn: the kinds that begin with it; the kinds that ask for it (from HOLD on); and flags. */
    private static final AtomicReferenceArray<long[]> KNOWN = new AtomicReferenceArray<long[]>(1 << 16);
    private static final long[][] KNOWN_ASCII = new long[ASCII][]; // known from the beginning, and read without a fence
    private static final byte[] CLASS = new byte[1 << 16]; // by character: whether it is a LETTER, whether it is JOINED
    private static final Letter BESIDES = new Letter(), BESIDE_ENDINGS = new Letter(); // those read backwards
    private static final Map<String, String> LABELS = new HashMap<String, String>();
    private static final Letter ENDINGS = new Letter(); // read backwards
    private static String ending;
    private static final ThreadLocal<Look> LOOKS = new ThreadLocal<Look>();
    private static String[] ownNames; // the kinds of the visitor's own identifiers, from place 1
    private static int own; // the first turn after those

    static {
        try {
            load();
        } catch (IOException fault) {
            throw new IllegalStateException(fault);
        }
    }

    private Scrubber() {}

    // What is looked for ---------------------------------------------------------------------------

    /** One way in which personal data is written. */
    private static final class Kind {
        final String name, checksum;
        final Pattern pattern, first, holds;
        final int value, digits;

        /** From the fields of a line. */
        Kind(String[] field) {
            name = field[1].equals(KEPT) ? KEPT : field[1];
            first = compiled(field[2]);
            value = field[4].isEmpty() ? 0 : 1;
            pattern = Pattern.compile(value == 0 ? field[5] : field[4] + "(" + field[5] + ")");
            holds = compiled(field[6]);
            digits = Integer.parseInt(field[7]);
            checksum = field[9];
        }
    }

    private static String reversed(String text) {
        return new StringBuilder(text).reverse().toString();
    }

    private static Pattern compiled(String pattern) {
        return pattern.isEmpty() ? null : Pattern.compile(pattern);
    }

    private static boolean holds(Pattern characters, String alone) {
        return characters != null && characters.matcher(alone).matches();
    }

    /** A letter of words in any case, forwards or backwards; `kinds` are those whose word ends here, a bit for each. */
    private static final class Letter {
        int kinds;
        int[] asking; // by turn: the kinds that ask for the word that ends here
        private Letter[] ascii = new Letter[0]; // what comes next: by the letter, if there is any, in either case
        private char[] letters = new char[0];
        private Letter[] more = new Letter[0]; // ... and after a letter that ASCII lacks

        Letter next(char letter) {
            if (letter < ascii.length) {
                return ascii[letter];
            }
            for (int n = 0; n < letters.length; n++) {
                if (letters[n] == letter) {
                    return more[n];
                }
            }
            return null;
        }

        private void add(char letter, Letter next) {
            if (letter < ASCII) {
                ascii = ascii.length == 0 ? new Letter[ASCII] : ascii;
                ascii[Character.toLowerCase(letter)] = next;
                ascii[Character.toUpperCase(letter)] = next;
            } else {
                int count = letters.length;
                letters = Arrays.copyOf(letters, count + 1);
                letters[count] = letter;
                more = (Letter[]) Arrays.copyOf(more, count + 1);
                more[count] = next;
            }
        }

        /** The last letter of a word, made if there is none. */
        Letter grown(String word) {
            Letter letter = this;
            for (int p = 0; p < word.length(); p++) {
                Letter next = letter.next(word.charAt(p));
                if (next == null) {
                    next = new Letter();
                    letter.add(word.charAt(p), next);
                }
                letter = next;
            }
            return letter;
        }

        void ask(String word, int turn, int kind) {
            Letter last = grown(word);
            last.asking = last.asking == null ? new int[turn + 1] : Arrays.copyOf(last.asking, turn + 1);
            last.asking[turn] |= kind;
        }

        private void answer(int[] near) {
            for (int turn = 0; turn < asking.length; turn++) {
                near[turn] |= asking[turn];
            }
        }

        /** The kinds of all words that begin at a place. */
        int from(Text text, int place) {
            int found = 0;
            Letter letter = this;
            for (int p = place; p < text.length && (letter = letter.next(text.characters[p])) != null; p++) {
                found |= letter.kinds;
            }
            return found;
        }

        /** Who asks for the words that begin at a place. */
        void from(Text text, int place, int[] near) {
            Letter letter = this;
            for (int p = place; p < text.length && (letter = letter.next(text.characters[p])) != null; p++) {
                if (letter.asking != null) {
                    letter.answer(near);
                }
            }
        }

        /** Who asks for the endings before a place. */
        void before(Text text, int place, int[] near) {
            Letter letter = this;
            for (int p = place - 1; p >= 0 && (letter = letter.next(text.characters[p])) != null; p--) {
                if (letter.asking != null) {
                    letter.answer(near);
                }
            }
        }
    }

    /** Kinds that are looked for together. Where several begin at the same place the first wins. */
    private static final class Turn {
        final boolean labelled;
        final List<Kind> kinds = new ArrayList<Kind>();
        private final Pattern behind;
        private final int[] enough = new int[32]; // by the digits in a row: the kinds that ask for no more
        private final int number;
        private final Letter words = new Letter();
        private int worded, holding, asking; // the kinds that begin with words, ask for characters, ask for words

        Turn(int number, String behind, boolean labelled) {
            this.number = number;
            this.behind = compiled(behind);
            this.labelled = labelled;
        }

        void add(Kind kind, String first, String asked) {
            int bit = 1 << kinds.size();
            kinds.add(kind);
            String[] word = first.isEmpty() ? new String[0] : first.split("\\|");
            for (int n = 0; n < word.length; n++) {
                words.grown(word[n]).kinds |= bit;
            }
            word = asked.isEmpty() ? new String[0] : asked.split("\\|");
            for (int n = 0; n < word.length; n++) {
                if (word[n].startsWith("-")) {
                    BESIDE_ENDINGS.ask(reversed(word[n].substring(1)), number, bit);
                } else {
                    BESIDES.ask(word[n], number, bit);
                }
            }
            for (int digits = kind.digits; digits < enough.length; digits++) {
                enough[digits] |= bit;
            }
            worded |= first.isEmpty() ? 0 : bit;
            holding |= kind.holds == null ? 0 : bit;
            asking |= asked.isEmpty() ? 0 : bit;
        }

        long told(char character) {
            String alone = String.valueOf(character);
            long found = words.next(character) != null ? WORD : 0;
            for (int k = 0; k < kinds.size(); k++) {
                Kind kind = (Kind) kinds.get(k);
                found |= holds(kind.first, alone) ? 1L << k : 0;
                found |= holds(kind.holds, alone) ? HOLD << k : 0;
            }
            return found | (holds(behind, alone) ? BEHIND : 0);
        }

        /** True if nothing begins at a place, for what stands in front. */
        boolean barred(Text text, int place) {
            return place > 0 && (known(text.characters[place - 1])[number] & BEHIND) != 0;
        }

        /** The kinds that a text may hold, a bit for each. */
        int possible(Look look) {
            long any = look.any[number];
            int begin = (int) any & KINDS | ((any & WORD) != 0 ? worded : 0), held = (int) (any / HOLD) & KINDS;
            int enoughDigits = enough[Math.min(look.digits, enough.length - 1)];
            return begin & (held | ~holding) & (look.near[number] | ~asking) & enoughDigits;
        }

        /** Of these kinds those that may begin at a place, a bit for each. */
        int beginning(Text text, int place, int possible) {
            long here = known(text.characters[place])[number];
            boolean word = (here & WORD) != 0 && (possible & worded) != 0;
            if ((here & possible) == 0 && !word || barred(text, place)) {
                return 0;
            }
            return ((int) here | (word ? words.from(text, place) : 0)) & possible;
        }
    }

    private static long[] known(char character) {
        if (character < ASCII) {
            return KNOWN_ASCII[character];
        }
        long[] found = (long[]) KNOWN.get(character);
        if (found == null) {
            found = told(character);
            KNOWN.set(character, found);
        }
        return found;
    }

    private static long[] told(char character) {
        long[] found = new long[TURNS.size()];
        for (int t = 0; t < found.length; t++) {
            found[t] = ((Turn) TURNS.get(t)).told(character);
        }
        return found;
    }

    /** The lines of recognisers.txt: their first field says what the others are. */
    private static void load() throws IOException {
        BufferedReader lines = new BufferedReader(
            new InputStreamReader(Scrubber.class.getResourceAsStream("recognisers.txt"), StandardCharsets.UTF_8));
        Turn turn = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] field = line.split("\t", -1);
            if (field[0].equals("turn")) {
                turn = new Turn(TURNS.size(), field[1], field[2].equals("labelled"));
                TURNS.add(turn);
            } else if (field[0].equals("kind")) {
                turn.add(new Kind(field), field[3], field[8]);
            } else if (field[0].equals("own")) {
                own = TURNS.size();
                ownNames = field;
            } else if (field[0].equals("ending")) {
                ENDINGS.grown(reversed(field[1])).kinds = 1;
                ending = field[2];
            } else {
                LABELS.put(field[1], field[2]);
            }
        }
        lines.close();
        for (int c = 0; c < CLASS.length; c++) {
            boolean joined = c < ASCII && Character.isLetterOrDigit((char) c);
            CLASS[c] = (byte) ((Character.isLetter((char) c) ? LETTER : 0) | (joined ? JOINED : 0));
        }
        for (int c = 0; c < ASCII; c++) {
            KNOWN_ASCII[c] = told((char) c);
        }
    }

    // Looking --------------------------------------------------------------------------------------

    private static final class Span implements Comparable {
        final int start, end;
        final String name;

        Span(int start, int end, String name) {
            this.start = start;
            this.end = end;
            this.name = name;
        }

        public int compareTo(Object other) {
            return Integer.compare(start, ((Span) other).start);
        }
    }

    /** Characters that can be changed in place. A part of it finds the label of its word. */
    private static final class Text implements CharSequence {
        char[] characters = new char[256];
        int[] heads = new int[256]; // where something may begin
        int length, count, start, end;

        /** Room for so many characters, none yet. */
        void open(int size) {
            if (characters.length < size) {
                characters = new char[2 * size];
                heads = new int[2 * size];
            }
            length = count = 0;
        }

        void append(Text other, int from, int to) {
            System.arraycopy(other.characters, from, characters, length, to - from);
            length += to - from;
        }

        public char charAt(int place) {
            return characters[place];
        }

        public int length() {
            return length;
        }

        public CharSequence subSequence(int from, int to) {
            return new String(characters, from, to - from);
        }

        public String toString() {
            return new String(characters, 0, length);
        }

        /** The label of the word between two places, or null. */
        String label(int from, int to) {
            start = from;
            end = to;
            String label = (String) LABELS.get(this);
            Letter letter = label == null ? ENDINGS : null;
            for (int place = to - 1; letter != null && place > from; place--) {
                letter = Character.isLowerCase(characters[place]) ? letter.next(characters[place]) : null;
                if (letter != null && letter.kinds != 0) {
                    return ending;
                }
            }
            return label;
        }

        /** As a string's, of the word. */
        public int hashCode() {
            int hash = 0;
            for (int place = start; place < end; place++) {
                hash = 31 * hash + characters[place];
            }
            return hash;
        }

        public boolean equals(Object word) {
            if (!(word instanceof String) || ((String) word).length() != end - start) {
                return false;
            }
            int place = start;
            while (place < end && ((String) word).charAt(place - start) == characters[place]) {
                place++;
            }
            return place == end;
        }
    }

    /** One text after the other: what was found in it so far, and what of it is still to be looked at. */
    private static final class Look {
        final List<Span> spans = new ArrayList<Span>();
        final Text text = new Text();
        final long[] any = new long[TURNS.size()]; // by turn: what is known of any of the text's characters
        final int[] near = new int[TURNS.size()]; // ... the kinds that ask for words which the text holds
        int digits; // the longest row, with at most two of " .-/()" between one and the next
        private final Text labelled = new Text(); // with a label before each word that a list knows
        private int[] inserted = new int[256]; // where in it
        private int labels;
        private final Matcher[][] matchers = new Matcher[TURNS.size()][];
        private final int[] seen = new int[256]; // by character: the last text that held it
        private int texts;

        void open(String whole) {
            int length = whole.length();
            spans.clear();
            text.open(length);
            text.length = length;
            whole.getChars(0, length, text.characters, 0);
            if (inserted.length < length) {
                inserted = new int[2 * length];
            }
            scan();
        }

        private void scan() {
            boolean inside = false, joined = false;
            int row = 0, since = 0;
            digits = 0;
            texts++;
            Arrays.fill(any, 0);
            Arrays.fill(near, 0);
            for (int place = 0; place < text.length; place++) {
                char character = text.characters[place];
                if (!joined || character >= seen.length) {
                    text.heads[text.count++] = place;
                }
                joined = (CLASS[character] & JOINED) != 0;
                if (character >= seen.length) {
                    seen(character);
                } else if (seen[character] != texts) {
                    seen[character] = texts;
                    seen(character);
                }
                if (character >= '0' && character <= '9') {
                    since = 0;
                    digits = Math.max(digits, ++row);
                } else if (row > 0 && (++since > 2 || " .-/()".indexOf(character) < 0)) {
                    row = 0;
                }
                boolean letter = (CLASS[character] & LETTER) != 0;
                if (letter && !inside) {
                    BESIDES.from(text, place, near);
                } else if (inside && !letter) {
                    BESIDE_ENDINGS.before(text, place, near);
                }
                inside = letter;
            }
            if (inside) {
                BESIDE_ENDINGS.before(text, text.length, near);
            }
        }

        private void seen(char character) {
            long[] known = known(character);
            for (int t = 0; t < known.length; t++) {
                any[t] |= known[t];
            }
        }

        void turn(int number) {
            Turn turn = (Turn) TURNS.get(number);
            if (turn.labelled) {
                label(turn);
            }
            int possible = turn.possible(this);
            if (possible == 0) {
                return;
            }
            if (matchers[number] == null) {
                matchers[number] = new Matcher[turn.kinds.size()];
            }
            Text seen = turn.labelled ? labelled : text;
            int from = spans.size();
            for (int n = 0, last = 0; n < seen.count; n++) {
                int place = seen.heads[n];
                if (place < last) {
                    continue;
                }
                for (int kinds = turn.beginning(seen, place, possible); kinds != 0; kinds &= kinds - 1) {
                    int k = Integer.numberOfTrailingZeros(kinds);
                    Kind kind = (Kind) turn.kinds.get(k);
                    Matcher match = matchers[number][k];
                    if (match == null) {
                        match = kind.pattern.matcher(seen).useTransparentBounds(true).useAnchoringBounds(false);
                        matchers[number][k] = match;
                    }
                    if (match.region(place, seen.length).lookingAt()) {
                        int start = match.start(kind.value), end = match.end();
                        if (passes(kind.checksum, seen, start, end)) {
                            start = turn.labelled ? unlabelled(start) : start;
                            spans.add(new Span(start, turn.labelled ? unlabelled(end) : end, kind.name));
                        }
                        last = end;
                        break;
                    }
                }
            }
            mask(from);
        }

        private void mask(int from) {
            for (int n = from; n < spans.size(); n++) {
                Span span = (Span) spans.get(n);
                Arrays.fill(text.characters, span.start, span.end, (char) MASK);
            }
        }

        private void label(Turn turn) {
            labelled.open(2 * text.length);
            labels = 0;
            int done = 0;
            for (int n = 0; n < text.count; n++) {
                int place = text.heads[n];
                if (Character.isUpperCase(text.characters[place]) && !turn.barred(text, place)) {
                    int end = place + 1;
                    while (end < text.length && Character.isLetter(text.characters[end])) {
                        end++;
                    }
                    String label = end > place + 1 ? text.label(place, end) : null;
                    labelled.append(text, done, place);
                    done = place;
                    labelled.heads[labelled.count++] = labelled.length;
                    if (label != null) {
                        seen(label.charAt(0));
                        inserted[labels++] = labelled.length;
                        labelled.characters[labelled.length++] = label.charAt(0);
                    }
                }
            }
            labelled.append(text, done, text.length);
        }

        /** Where in the text a place of the labelled one is. */
        private int unlabelled(int place) {
            int before = 0;
            while (before < labels && inserted[before] < place) {
                before++;
            }
            return place - before;
        }

        /** A visitor's own identifier: a pattern of this text's alone. */
        void own(String pattern, String name) {
            int from = spans.size();
            for (Matcher match = Pattern.compile(pattern).matcher(text); match.find(); ) {
                spans.add(new Span(match.start(), match.end(), name));
            }
            mask(from);
        }
    }

    /** Without the controls that mark what was found and known: no text needs them. */
    private static String bare(String text) {
        for (int place = 0; place < text.length(); place++) {
            char character = text.charAt(place);
            if (character >= 0x0e && character <= 0x1e) {
                return text.replaceAll("[\\x0e-\\x1e]", "");
            }
        }
        return text;
    }

    // Checksums ------------------------------------------------------------------------------------

    private static boolean passes(String checksum, Text text, int start, int end) {
        if (checksum.isEmpty()) {
            return true;
        }
        String value = text.subSequence(start, end).toString().replaceAll("[ \\-]", "").toUpperCase(Locale.ROOT);
        if (checksum.equals("luhn")) {
            return luhn(value);
        } else if (checksum.equals("card")) {
            return luhn(value) && !ean(value);
        } else if (checksum.equals("iban")) {
            return iban(value);
        } else if (checksum.equals("resident_id")) {
            return residentId(value);
        }
        throw new IllegalStateException("no such checksum: " + checksum);
    }

    /** ISO/IEC 7812. */
    private static boolean luhn(String digits) {
        int sum = 0;
        for (int n = 1; n <= digits.length(); n++) {
            int digit = digits.charAt(digits.length() - n) - '0';
            sum += n % 2 == 1 ? digit : digit < 5 ? 2 * digit : 2 * digit - 9;
        }
        return sum % 10 == 0;
    }

    /** GTIN-13: weights of 1 and 3. Such a number is no card. */
    private static boolean ean(String digits) {
        int sum = 0;
        for (int n = 0; n < digits.length(); n++) {
            sum += (digits.charAt(n) - '0') * (n % 2 == 1 ? 3 : 1);
        }
        return digits.length() == 13 && sum % 10 == 0;
    }

    /** ISO 13616: rearranged, letters as 10 to 35, modulo 97. */
    private static boolean iban(String number) {
        int left = 0;
        for (int n = 0; n < number.length(); n++) {
            int value = Character.digit(number.charAt((n + 4) % number.length()), 36);
            left = (left * (value < 10 ? 10 : 100) + value) % 97;
        }
        return left == 1;
    }

    /** GB 11643: a date, and ISO 7064 MOD 11-2. */
    private static boolean residentId(String number) {
        int sum = 0;
        for (int n = 0; n < 18; n++) {
            char character = number.charAt(n);
            sum = (sum * 2 + (character == 'X' ? 10 : character - '0')) % 11;
        }
        try {
            LocalDate.of(Integer.parseInt(number.substring(6, 10)), Integer.parseInt(number.substring(10, 12)),
                Integer.parseInt(number.substring(12, 14)));
        } catch (DateTimeException fault) {
            return false;
        }
        return sum == 1;
    }

    // Functions of Spark ---------------------------------------------------------------------------

    /** What is personal in a bare text: of any kind, or by the visitor's own patterns, each of which may be null. */
    private static List<Span> found(String text, Object[] patterns) {
        Look look = (Look) LOOKS.get();
        if (look == null) {
            look = new Look();
            LOOKS.set(look);
        }
        look.open(text);
        for (int t = 0; t < TURNS.size(); t++) {
            for (int n = 0; t == own && n < patterns.length; n++) {
                if (patterns[n] != null) {
                    look.own((String) patterns[n], ownNames[n + 1]);
                }
            }
            look.turn(t);
        }
        Collections.sort(look.spans);
        return look.spans;
    }

    /** A bare text with a placeholder for each span; tied to the visitor under a key (bytes) if that is given. */
    private static String replaced(String text, List<Span> spans, Object visitor, Object key)
            throws GeneralSecurityException {
        StringBuilder out = new StringBuilder(text.length() + 64);
        int last = 0;
        for (int n = 0; n < spans.size(); n++) {
            Span span = (Span) spans.get(n);
            if (span.name != KEPT) {
                out.append(text, last, span.start).append('<').append(span.name);
                if (key != null) {
                    String value = text.substring(span.start, span.end);
                    Tie.of((byte[]) key).tie(out.append('_'), (String) visitor, span.name, value);
                }
                out.append('>');
                last = span.end;
            }
        }
        return last == 0 ? text : out.append(text, last, text.length()).toString();
    }

    /** "start end KIND;" for each span, in characters of the text without controls; null of null. */
    public static final class Found implements UDF5 {
        public Object call(Object given, Object email, Object phone, Object address, Object name) {
            if (given == null) {
                return null;
            }
            String text = bare((String) given);
            List<Span> spans = found(text, new Object[] {email, phone, address, name});
            StringBuilder out = new StringBuilder();
            for (int n = 0; n < spans.size(); n++) {
                Span span = (Span) spans.get(n);
                if (span.name != KEPT) {
                    out.append(text.codePointCount(0, span.start)).append(' ');
                    out.append(text.codePointCount(0, span.end)).append(' ').append(span.name).append(';');
                }
            }
            return out.toString();
        }
    }

    /** A text with what `Found` finds replaced. */
    public static final class Scrubbed implements UDF7 {
        public Object call(Object given, Object email, Object phone, Object address, Object name, Object visitor,
                Object key) throws GeneralSecurityException {
            if (given == null) {
                return null;
            }
            String text = bare((String) given);
            return replaced(text, found(text, new Object[] {email, phone, address, name}), visitor, key);
        }
    }

    /** A text with spans, told as `Found` tells them, replaced. */
    public static final class Replaced implements UDF4 {
        public Object call(Object given, Object told, Object visitor, Object key) throws GeneralSecurityException {
            if (given == null) {
                return null;
            }
            String text = bare((String) given);
            List<Span> spans = new ArrayList<Span>();
            String[] each = ((String) told).isEmpty() ? new String[0] : ((String) told).split(";");
            for (int n = 0; n < each.length; n++) {
                String[] field = each[n].split(" ");
                int start = text.offsetByCodePoints(0, Integer.parseInt(field[0]));
                spans.add(new Span(start, text.offsetByCodePoints(0, Integer.parseInt(field[1])), field[2]));
            }
            return replaced(text, spans, visitor, key);
        }
    }

    /** A key, made ready for its use by one thread. */
    private static final class Tie {
        private static final ThreadLocal<Tie> LAST = new ThreadLocal<Tie>();
        private final byte[] key;
        private final Mac mac;

        private Tie(byte[] key) throws GeneralSecurityException {
            this.key = key;
            mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
        }

        static Tie of(byte[] key) throws GeneralSecurityException {
            Tie last = (Tie) LAST.get();
            if (last == null || !Arrays.equals(last.key, key)) {
                last = new Tie(key);
                LAST.set(last);
            }
            return last;
        }

        /** Eight letters for the first 32 bits of a keyed hash of visitor, kind, and the value's letters and digits. */
        void tie(StringBuilder out, String visitor, String kind, String value) {
            StringBuilder message = new StringBuilder(64).append("text\0");
            message.append(visitor == null ? "" : visitor).append('\0').append(kind).append('\0');
            String small = value.toLowerCase(Locale.ROOT);
            for (int place = 0; place < small.length(); place++) {
                char character = small.charAt(place);
                int type = Character.getType(character);
                if (Character.isLetterOrDigit(character) || Character.isSurrogate(character)
                        || type == Character.LETTER_NUMBER || type == Character.OTHER_NUMBER) {
                    message.append(character);
                }
            }
            byte[] digest = mac.doFinal(message.toString().getBytes(StandardCharsets.UTF_8));
            for (int n = 0; n < 4; n++) {
                out.append((char) ('g' + (digest[n] >> 4 & 15))).append((char) ('g' + (digest[n] & 15)));
            }
        }
    }
}
