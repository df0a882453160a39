"""The ground floor: imported by web, worker and training; imports none of them."""
