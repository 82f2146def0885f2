// The texts of the pages in German, by the English text.
export const german = {
  // Is this still the right patient?
  'patient not confirmed': 'Patient nicht bestätigt',
  'Is this still {0}?': 'Ist das noch {0}?',
  'the right patient': 'der richtige Patient',
  '{0} gave no value from {1} to {2} ({3}). Its numbers are marked until a nurse of the ward answers.':
    '{0} gab von {1} bis {2} keinen Wert ({3}). Die Werte bleiben markiert, bis eine Pflegekraft der Station antwortet.',
  '{0} says: no. Move the sensor or the patient, or see that the patient is discharged. Until then the numbers stay marked.':
    '{0} sagt: nein. Setzen Sie den Sensor um, oder lassen Sie den Patienten verlegen oder entlassen. Bis dahin bleiben die Werte markiert.',
  'Yes, still {0}': 'Ja, noch {0}',
  'No, another patient': 'Nein, ein anderer Patient',
  'Look at the wristband first.': 'Sehen Sie zuerst auf das Armband.',
  'From {0} on it is not confirmed that {1} is on this patient: nobody has answered yet.':
    'Ab {0} ist nicht bestätigt, dass {1} an diesem Patienten ist: Noch niemand hat geantwortet.',
  'From {0} to {1} it was never confirmed that {2} was on this patient.': 'Von {0} bis {1} wurde nie bestätigt, dass {2} an diesem Patienten war.',
  'From {0} on {1} is not on this patient, says {2}.': 'Ab {0} ist {1} nicht an diesem Patienten, sagt {2}.',
  'From {0} to {1} {2} was not on this patient, says {3}.': 'Von {0} bis {1} war {2} nicht an diesem Patienten, sagt {3}.',
  '{0} confirmed at {1} that {2} was on this patient from {3} on.': '{0} hat um {1} bestätigt, dass {2} ab {3} an diesem Patienten war.',
} as const
