/* date.c: dates and times in text (DA, TM and DT, PS3.5 6.2) as numbers. */
#include "dcm_value.h"

#define DAY_MICROSECONDS (86400 * INT64_C(1000000))

/* Reads `count` digits from the beginning of *s; 0 if they are not there. */
static int take_digits(dcm_span *s, unsigned count, int *out) {
    if (s->n < count) return 0;
    *out = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned digit = (unsigned)(s->p[i] - '0');
        if (digit > 9) return 0;
        *out = *out * 10 + (int)digit;
    }
    s->p += count;
    s->n -= count;
    return 1;
}

static int take_char(dcm_span *s, char c) {
    if (!s->n || *s->p != c) return 0;
    s->p++;
    s->n--;
    return 1;
}

/* Days from 1970-01-01 in the Gregorian calendar; 0 if there is no such day. Years are
 * counted from March, so that the day that may be missing is the last one. */
static int days_from_civil(int year, int month, int day, int32_t *out) {
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1) return 0;
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > lengths[month - 1] + (month == 2 && leap)) return 0;
    int y = month > 2 ? year : year - 1;
    int of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    *out = 365 * y + y / 4 - y / 100 + y / 400 + of_year - 719468;
    return 1;
}

/* Reads a date from the beginning of *s: YYYYMMDD, or YYYY.MM.DD of ACR-NEMA. */
static int take_date(dcm_span *s, int32_t *days) {
    int year, month, day;
    if (!take_digits(s, 4, &year)) return 0;
    int points = take_char(s, '.');
    if (!take_digits(s, 2, &month) || (points && !take_char(s, '.'))) return 0;
    return take_digits(s, 2, &day) && days_from_civil(year, month, day, days);
}

/* Reads a time from the beginning of *s: HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or with
 * colons as in ACR-NEMA. A leap second (60) has no number. */
static int take_time(dcm_span *s, int64_t *microseconds) {
    int hour, minute = 0, second = 0, fraction = 0;
    if (!take_digits(s, 2, &hour)) return 0;
    int colons = take_char(s, ':');
    if (take_digits(s, 2, &minute)) {
        int more = !colons || take_char(s, ':');
        if (more && colons && !s->n) return 0;
        if (more && take_digits(s, 2, &second) && take_char(s, '.')) {
            int digits = 0;
            for (int digit; digits < 6 && take_digits(s, 1, &digit); digits++)
                fraction = fraction * 10 + digit;
            if (!digits) return 0;
            for (; digits < 6; digits++) fraction *= 10;
        }
    } else if (colons) {
        return 0;
    }
    if (hour > 23 || minute > 59 || second > 59) return 0;
    *microseconds = (hour * 3600 + minute * 60 + second) * INT64_C(1000000) + fraction;
    return 1;
}

int dcm_parse_date(dcm_span s, int32_t *days) {
    s = dcm_trim(s.p, s.n);
    return take_date(&s, days) && !s.n;
}

int dcm_parse_time(dcm_span s, int64_t *microseconds) {
    s = dcm_trim(s.p, s.n);
    return take_time(&s, microseconds) && !s.n;
}

int dcm_parse_datetime(dcm_span s, int64_t *microseconds) {
    int32_t days;
    int64_t time = 0;
    int offset;
    s = dcm_trim(s.p, s.n);
    if (!take_date(&s, &days)) return 0;
    if (s.n && *s.p != '+' && *s.p != '-' && !take_time(&s, &time)) return 0;
    if ((take_char(&s, '+') || take_char(&s, '-')) &&
        (!take_digits(&s, 4, &offset) || offset > 1400 || offset % 100 > 59))
        return 0;
    *microseconds = days * DAY_MICROSECONDS + time;
    return !s.n;
}
